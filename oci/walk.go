package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxLinks bounds the symbolic links of one walk, as the kernel does
	// (MAXSYMLINKS).
	maxLinks = 40
	// maxDepth bounds the directories that a walk has open at a time.
	maxDepth = 128
	// maxPath is PATH_MAX.
	maxPath = 4096
)

// coveredError says that a path lies in a mount whose content is not known
// before the container exists.
type coveredError struct {
	mount string // describes the mount
}

func (e *coveredError) Error() string {
	return "it lies on " + e.mount + ", whose content is not known before the container runs"
}

// kindError says that a path is there but is not a regular file.
type kindError struct {
	kind string // with its article, such as "a directory"
}

func (e *kindError) Error() string { return "it is " + e.kind }

// frame is one step of a walk.
type frame struct {
	name string
	// fd is an O_PATH descriptor of what is there; -1 where nothing is yet,
	// because a mount or the directory above one will come to be there.
	fd   int
	mode uint32
	// mount is the mount of unknown content that the frame lies on, or nil.
	mount *mount
}

func (f frame) isDir() bool { return f.fd < 0 || f.mode&unix.S_IFMT == unix.S_IFDIR }

// walk is the way from the root of a tree to one path.
//
// It takes one component at a time and resolves links itself, because the
// mounts of the spec are not there for the kernel to cross. The kernel still
// guards every step: a component is opened below its parent, neither links nor
// the magic links of procfs are followed, and ".." goes back along the way.
// No path, link or mount can therefore lead outside of the root directory and
// the sources of the bind mounts.
type walk struct {
	tree   *tree
	frames []frame // frames[0] is the root
}

// walk goes to path, in which a trailing link is followed. With create it goes
// on where nothing is, as if the missing directories were made. The errors are
// errnos of the kernel and *coveredError. The caller closes the walk.
func (t *tree) walk(path string, create bool) (*walk, error) {
	w := &walk{tree: t}
	w.restart()
	if err := w.follow(path, create); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *walk) follow(path string, create bool) error {
	if len(path) > maxPath {
		return unix.ENAMETOOLONG
	}
	rest, links := strings.Split(path, "/"), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if !w.top().isDir() {
			return unix.ENOTDIR
		}
		switch name {
		case "", ".":
			continue
		case "..":
			w.pop()
			continue
		}
		target, err := w.step(name, create)
		if err != nil {
			return err
		}
		if target == "" {
			continue
		}
		if links++; links > maxLinks {
			return unix.ELOOP
		}
		if target[0] == '/' {
			w.restart()
		}
		rest = append(strings.Split(target, "/"), rest...)
		if len(rest) > maxPath {
			return unix.ENAMETOOLONG
		}
	}
	return nil
}

// step goes to a child of the directory on top. When that is a symbolic link
// it stays where it is and returns the link's target.
func (w *walk) step(name string, create bool) (target string, err error) {
	if len(w.frames) > maxDepth {
		return "", unix.ENAMETOOLONG
	}
	top := w.top()
	path := w.path() + "/" + name
	if len(w.frames) == 1 {
		path = "/" + name
	}
	if m, ok := w.tree.mounts[path]; ok {
		w.frames = append(w.frames, m.open(name))
		return "", nil
	}
	if top.fd >= 0 {
		fd, err := openBelow(top.fd, name)
		if err == nil {
			return w.enter(name, fd)
		}
		if err != unix.ENOENT {
			return "", err
		}
	}
	switch {
	case create || w.tree.above[path]:
		w.frames = append(w.frames, frame{name: name, fd: -1, mount: top.mount})
		return "", nil
	case top.mount != nil:
		return "", &coveredError{top.mount.name}
	default:
		return "", unix.ENOENT
	}
}

// enter puts the file that is open as fd on top, unless it is a link.
func (w *walk) enter(name string, fd int) (target string, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		w.frames = append(w.frames, frame{name: name, fd: fd, mode: st.Mode})
		return "", nil
	}
	defer unix.Close(fd)
	buf := make([]byte, maxPath)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	if n == 0 {
		return "", unix.ENOENT
	}
	return string(buf[:n]), nil
}

// openBelow opens a child of dir without following any kind of link. name is
// one component; the kernel refuses to leave dir by it in any case.
func openBelow(dir int, name string) (int, error) {
	for {
		fd, err := unix.Openat2(dir, name, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// open is the first frame on a mount. A bind mount whose source cannot be
// opened has unknown content: mounting it is going to say why.
func (m mount) open(name string) frame {
	if m.source != "" {
		fd, err := unix.Open(m.source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err == nil {
				return frame{name: name, fd: fd, mode: st.Mode}
			}
			unix.Close(fd)
		}
	}
	return frame{name: name, fd: -1, mount: &m}
}

func (w *walk) top() frame { return w.frames[len(w.frames)-1] }

// pop goes to the parent; that of the root is the root.
func (w *walk) pop() {
	if len(w.frames) == 1 {
		return
	}
	if fd := w.top().fd; fd >= 0 {
		unix.Close(fd)
	}
	w.frames = w.frames[:len(w.frames)-1]
}

// restart goes back to the root, or to the mount that covers it.
func (w *walk) restart() {
	w.close()
	if m, ok := w.tree.mounts["/"]; ok {
		w.frames = append(w.frames, m.open(""))
		return
	}
	w.frames = append(w.frames, frame{fd: w.tree.root, mode: unix.S_IFDIR})
}

// close closes what the walk has open.
func (w *walk) close() {
	for _, f := range w.frames {
		if f.fd >= 0 && f.fd != w.tree.root {
			unix.Close(f.fd)
		}
	}
	w.frames = w.frames[:0]
}

// path is where the walk is, absolute and without links.
func (w *walk) path() string {
	if len(w.frames) == 1 {
		return "/"
	}
	var b strings.Builder
	for _, f := range w.frames[1:] {
		b.WriteByte('/')
		b.WriteString(f.name)
	}
	return b.String()
}

// open opens the regular file at path for reading and returns it with its
// status. Anything else is a *kindError and is not opened: opening a FIFO
// would wait for its writer, opening a device may do anything.
func (t *tree) open(path string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	w, err := t.walk(path, false)
	if err != nil {
		return nil, st, err
	}
	defer w.close()
	top := w.top()
	if top.fd < 0 && top.mount != nil {
		return nil, st, &coveredError{top.mount.name}
	}
	if kind := kindOf(top); kind != "" {
		return nil, st, &kindError{kind}
	}
	// This reopens the very file that was looked at, so that it cannot have
	// become a FIFO in between. O_NONBLOCK is against leases (fcntl(2)): the
	// holder of one could delay the open by 45 seconds.
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(top.fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, st, err
	}
	err = errors.Join(unix.SetNonblock(fd, false), unix.Fstat(fd, &st))
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("reopened as mode %o", st.Mode)
	}
	if err != nil {
		unix.Close(fd)
		return nil, st, err
	}
	return os.NewFile(uintptr(fd), path), st, nil
}

// kindOf names what is not a regular file; it is empty for one that is.
func kindOf(f frame) string {
	if f.isDir() {
		return "a directory"
	}
	switch f.mode & unix.S_IFMT {
	case unix.S_IFREG:
		return ""
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	default:
		return "not a regular file"
	}
}
