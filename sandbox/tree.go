package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// tree resolves the container's paths beneath its root file system, whatever
// symlinks, magic links and renames an image or another container that shares
// a volume comes up with. Nothing on the host is reached through it.
type tree struct {
	// fd is the mounted root of the container.
	fd int
	// host is the path of fd on the host.
	host string
	// resolve are RESOLVE_* flags beyond those that keep it inside.
	resolve uint64
	// mapped says that this process is root in a user namespace only.
	mapped bool
}

// creation explains why nothing can be made in the tree.
func (t tree) creation(err error) error {
	if t.mapped && (err == unix.EACCES || err == unix.EOVERFLOW) {
		return fmt.Errorf("the directory belongs to ids that the container's user namespace does not map; remap the owners of the root file system or id-map the mount: %w", err)
	}
	return err
}

// strict returns a tree that does not follow symlinks at all.
func (t tree) strict() tree {
	t.resolve |= unix.RESOLVE_NO_SYMLINKS
	return t
}

// open opens a path as openat2(2) does, close-on-exec. Absolute paths and
// symlinks start at the root of the tree.
func (t tree) open(path string, flags uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | t.resolve,
	}
	// EAGAIN says that something, anywhere on the host, was renamed or mounted
	// while ".." was resolved.
	for range 128 {
		fd, err := unix.Openat2(t.fd, path, &how)
		switch err {
		case unix.EAGAIN, unix.EINTR:
			continue
		case unix.ENOSYS:
			return -1, control.Errorf(control.Unavailable, "the node's kernel has no openat2(2), which safe mounts need; use Linux 5.6 or newer")
		}
		return fd, err
	}
	return -1, unix.EAGAIN
}

// mkdirAll opens a directory and makes it and its parents where they are
// missing, also where a symlink leads to that does not exist yet, as
// /var/run -> /run does in an image without /run.
func (t tree) mkdirAll(path string, mode uint32) (fd int, made bool, err error) {
	fd, err = t.open(path, unix.O_PATH|unix.O_DIRECTORY)
	if err != unix.ENOENT {
		return fd, false, err
	}
	dir, name, err := t.parent(path, mode)
	if err != nil {
		return -1, false, err
	}
	defer unix.Close(dir)
	if err := unix.Mkdirat(dir, name, mode); err != nil && err != unix.EEXIST {
		return -1, false, t.creation(err)
	}
	fd, err = unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return fd, true, err
}

// createFile opens an existing path of any type but a symlink, or makes an
// empty file there.
func (t tree) createFile(path string) (int, error) {
	fd, err := t.open(path, unix.O_PATH)
	if err != unix.ENOENT {
		return fd, err
	}
	dir, name, err := t.parent(path, 0o755)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	fd, err = unix.Openat(dir, name, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return -1, t.creation(err)
	}
	unix.Close(fd)
	return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// parent makes and opens the directory in which the last component of path is
// to be made, and returns that component. Where the path, of which nothing
// needs to exist, comes upon a symlink that leads nowhere, it goes on where the
// symlink leads, inside the tree.
func (t tree) parent(path string, mode uint32) (dir int, name string, err error) {
	for range 40 { // as many symlinks as the kernel follows
		next := ""
		dir, name, next, err = t.walk(path, mode)
		if err != nil || next == "" {
			return dir, name, err
		}
		path = next
	}
	return -1, "", unix.ELOOP
}

// walk makes one attempt at parent. It returns the path to go on with if there
// was a symlink in the way.
func (t tree) walk(path string, mode uint32) (dir int, name, next string, err error) {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(parts) == 0 {
		return -1, "", "", unix.EEXIST
	}
	dir, err = t.open(".", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, "", "", err
	}
	defer func() {
		if err != nil || next != "" {
			unix.Close(dir)
		}
	}()
	for i, part := range parts {
		prefix := strings.Join(parts[:i], "/")
		if target, err := readlinkat(dir, part); err == nil {
			// Only a symlink that leads nowhere is in the way.
			if fd, err := t.open(prefix+"/"+part, unix.O_PATH); err == nil {
				unix.Close(fd)
			} else if err != unix.ENOENT {
				return dir, "", "", err
			} else {
				if !strings.HasPrefix(target, "/") {
					target = prefix + "/" + target
				}
				return dir, "", target + "/" + strings.Join(parts[i+1:], "/"), nil
			}
		}
		if i == len(parts)-1 {
			if part == "." || part == ".." {
				return dir, "", "", unix.EINVAL
			}
			return dir, part, "", nil
		}
		sub, err := t.open(prefix+"/"+part, unix.O_PATH|unix.O_DIRECTORY)
		if err == unix.ENOENT {
			if err := unix.Mkdirat(dir, part, mode); err != nil && err != unix.EEXIST {
				return dir, "", "", t.creation(err)
			}
			sub, err = t.open(prefix+"/"+part, unix.O_PATH|unix.O_DIRECTORY)
		}
		if err != nil {
			return dir, "", "", err
		}
		unix.Close(dir)
		dir = sub
	}
	panic("unreachable")
}

// locate returns the path in the container at which an open file really is, for
// decisions that hang on the place and not on the name by which it was found.
func (t tree) locate(fd int) (string, error) {
	path, err := readlinkat(unix.AT_FDCWD, magic(fd))
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(t.host, "/"))
	if !ok || rest != "" && rest[0] != '/' {
		return "", fmt.Errorf("%s is outside of the container's root %s", path, t.host)
	}
	if rest == "" {
		return "/", nil
	}
	return rest, nil
}

func readlinkat(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	if n == len(buf) {
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}

// blame turns a failure on a path that the spec or the image names into an
// error of the class that tells whose fault it is.
func blame(err error, format string, args ...any) error {
	if e, ok := errors.AsType[*control.Error](err); ok {
		return e
	}
	class := control.Internal
	switch {
	case errors.Is(err, unix.ENOENT):
		class = control.NotFound
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOTDIR),
		errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENAMETOOLONG),
		errors.Is(err, unix.EACCES), errors.Is(err, unix.EOVERFLOW),
		errors.Is(err, unix.EROFS), errors.Is(err, unix.EEXIST), errors.Is(err, unix.EISDIR):
		class = control.InvalidArgument
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EMFILE),
		errors.Is(err, unix.ENFILE), errors.Is(err, unix.EDQUOT):
		class = control.Unavailable
	}
	return control.Errorf(class, format, append(args, err)...)
}
