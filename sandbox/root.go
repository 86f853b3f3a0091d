package sandbox

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// root is the container's file system while it is built, before pivot_root:
// host paths and the host's /proc still work, so that nothing of the image
// needs to be trusted.
type root struct {
	tree
	config *Config
	// late are mounts that become read-only when everything below them is
	// made.
	late []int
}

// buildRoot makes the container's file system and leaves the process in it,
// with the host out of reach.
func (c *Config) buildRoot() error {
	r, err := c.mountRoot()
	if err != nil {
		return err
	}
	for i := range c.Mounts {
		if err := r.mount(&c.Mounts[i]); err != nil {
			return err
		}
	}
	if c.Devices != nil {
		if err := r.makeDev(); err != nil {
			return err
		}
	}
	if err := r.runHooks(); err != nil {
		return err
	}
	// runc makes it, and images in the field have come to depend on that.
	cwd, _, err := r.mkdirAll(c.Cwd, 0o755)
	if err != nil {
		return blame(err, "process.cwd: make the directory %s: %w", c.Cwd)
	}
	unix.Close(cwd)
	for _, fd := range r.late {
		if err := setAttr(fd, Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
			return fmt.Errorf("make a mount read-only: %w", err)
		}
	}
	if err := r.restrict(); err != nil {
		return err
	}
	if c.ReadonlyRoot {
		if err := setAttr(r.fd, Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
			return fmt.Errorf("root.readonly: %w", err)
		}
	}
	if c.Devices != nil {
		if err := r.reopenNull(); err != nil {
			return err
		}
	}
	// After the hooks, which would inherit the labels, and while the host's /proc
	// is there.
	if err := c.writeLabels(); err != nil {
		return err
	}
	if err := r.pivot(); err != nil {
		return err
	}
	// pivot_root fails for a shared root, so that it becomes one only now.
	if p := c.RootPropagation; p&(unix.MS_SHARED|unix.MS_UNBINDABLE) != 0 {
		if err := unix.Mount("", "/", "", p, ""); err != nil {
			return fmt.Errorf("linux.rootfsPropagation: %w", err)
		}
	}
	return nil
}

// mountRoot separates the mount namespace from the host's and mounts the root
// file system on itself, since pivot_root needs a mount.
func (c *Config) mountRoot() (*root, error) {
	fd := c.RootFD
	if fd == 0 {
		var err error
		if fd, err = c.openRoot(); err != nil {
			return nil, err
		}
	}
	// The working directory is c.Rootfs, to which the path may be closed in a
	// user namespace.
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, ".", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return nil, blame(err, "root.path: mount %s: %w", c.Rootfs)
	}
	if err := unix.Mount("", magic(fd), "", c.ownPropagation()|unix.MS_REC, ""); err != nil {
		return nil, fmt.Errorf("root.path: separate the mounts below %s: %w", c.Rootfs, err)
	}
	host, err := readlinkat(unix.AT_FDCWD, magic(fd))
	if err != nil {
		return nil, fmt.Errorf("root.path: locate %s: %w", c.Rootfs, err)
	}
	return &root{tree: tree{fd: fd, host: host, mapped: c.User != nil}, config: c}, nil
}

// ownPropagation is that of the mount below the root, and of the root while it
// is built. It must not be shared: the container's root, and everything in it,
// would appear on the host.
func (c *Config) ownPropagation() uintptr {
	if c.RootPropagation&unix.MS_SLAVE != 0 {
		return unix.MS_SLAVE
	}
	return unix.MS_PRIVATE
}

// openRoot separates the mount namespace from the host's, makes the root file
// system's place the working directory and returns a detached clone of its
// mounts.
func (c *Config) openRoot() (int, error) {
	// A slave sees the host's later mounts, and what is mounted here stays
	// here. Only a shared root lets bind mounts propagate to the host, and is
	// asked for by those who want that. An unbindable root could not be bound
	// below.
	all := uintptr(unix.MS_SLAVE)
	switch {
	case c.RootPropagation&unix.MS_SHARED != 0:
		all = unix.MS_SHARED
	case c.RootPropagation&unix.MS_PRIVATE != 0:
		all = unix.MS_PRIVATE
	}
	if err := unix.Mount("", "/", "", all|unix.MS_REC, ""); err != nil {
		return -1, fmt.Errorf("separate the mount namespace: %w", err)
	}
	for path := c.Rootfs; ; path = filepath.Dir(path) {
		err := unix.Mount("", path, "", c.ownPropagation(), "")
		if err == nil {
			break
		}
		// EINVAL: no mount, so that one of its parents is.
		if err != unix.EINVAL || path == "/" {
			return -1, blame(err, "root.path: separate the mount of %s: %w", path)
		}
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, c.Rootfs, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		if err == unix.ENOSYS {
			return -1, control.Errorf(control.Unavailable, "the node's kernel has no open_tree(2), which safe mounts need; use Linux 5.6 or newer")
		}
		return -1, blame(err, "root.path: clone the mount of %s: %w", c.Rootfs)
	}
	if err := unix.Chdir(c.Rootfs); err != nil {
		return -1, blame(err, "root.path: enter %s: %w", c.Rootfs)
	}
	return fd, nil
}

// pivot makes the container's root the root of the process and gets rid of the
// host's. With pivot_root(".", ".") the old root ends up on top of the new one,
// so that no directory has to be made for it.
func (r *root) pivot() error {
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the host's root: %w", err)
	}
	defer unix.Close(old)
	if err := unix.Fchdir(r.fd); err != nil {
		return fmt.Errorf("enter the container's root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root to %s: %w", r.host, err)
	}
	// Where the working directory is after pivot_root is not documented.
	if err := unix.Fchdir(old); err != nil {
		return fmt.Errorf("enter the host's root: %w", err)
	}
	// With a shared root the unmount would reach the host. A slave rather than
	// private, so that the host's own unmounts still arrive and nothing of it
	// stays busy.
	if err := unix.Mount("", ".", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("separate the host's root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the host's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter the container's root: %w", err)
	}
	return nil
}
