package sandbox

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// restrict covers linux.readonlyPaths and linux.maskedPaths.
func (r *root) restrict() error {
	for _, p := range r.config.ReadonlyPaths {
		if err := r.makeReadonly(p); err != nil {
			return blame(err, "linux.readonlyPaths: %s: %w", p)
		}
	}
	masks := masks{null: -1, empty: -1}
	defer masks.close()
	for i, p := range r.config.MaskedPaths {
		if slices.Contains(r.config.MaskedPaths[:i], p) {
			continue
		}
		if err := r.mask(&masks, p); err != nil {
			return blame(err, "linux.maskedPaths: %s: %w", p)
		}
	}
	return nil
}

// place opens a path that is to be covered, or returns -1 if it does not exist.
func (r *root) place(path string) (int, error) {
	at, err := r.tree.open(path, unix.O_PATH)
	switch {
	case err == unix.ENOENT, err == unix.ENOTDIR:
		return -1, nil
	case err != nil:
		return -1, err
	case sameFile(at, r.fd):
		unix.Close(at)
		return -1, fmt.Errorf("it is the container's root itself: %w", unix.EINVAL)
	}
	return at, nil
}

func (r *root) makeReadonly(path string) error {
	at, err := r.place(path)
	if at < 0 {
		return err
	}
	defer unix.Close(at)
	fd, err := unix.OpenTree(at, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := attach(fd, at); err != nil {
		return err
	}
	return setAttr(fd, Attr{Set: unix.MOUNT_ATTR_RDONLY}, false)
}

// masks are what masked paths are covered with; -1 until the first is needed.
type masks struct {
	// null is the container's /dev/null, for files.
	null int
	// empty is a mounted, empty and read-only tmpfs, for directories.
	empty int
}

func (m *masks) close() {
	for _, fd := range []int{m.null, m.empty} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (r *root) mask(m *masks, path string) error {
	at, err := r.place(path)
	if at < 0 {
		return err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return err
	}
	with := &m.null
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		with = &m.empty
	}
	if *with < 0 {
		if with == &m.null {
			*with, err = r.openNull(unix.O_PATH)
		} else {
			*with, err = r.mountEmpty(path, at)
			if err == nil {
				return nil // this one is the first that it covers
			}
		}
		if err != nil {
			return err
		}
	}
	fd, err := unix.OpenTree(*with, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return attach(fd, at)
}

// mountEmpty covers a directory with a new tmpfs and returns the mount, so that
// one file system does for all.
func (r *root) mountEmpty(path string, at int) (int, error) {
	data := "nr_blocks=1,nr_inodes=1"
	if label := r.config.MountLabel; label != "" {
		data += `,context="` + label + `"`
	}
	if err := unix.Mount("tmpfs", magic(at), "tmpfs", unix.MS_RDONLY, data); err != nil {
		return -1, err
	}
	return r.top(r.tree, path, at)
}
