package sandbox

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// makeDev makes the devices and links of runtime-spec's runtime-linux.md, "Dev
// symbolic links". What an image has there already is left alone.
func (r *root) makeDev() error {
	for i := range r.config.Devices {
		d := &r.config.Devices[i]
		if err := r.makeDevice(d); err != nil {
			return blame(err, "linux.devices: make %s: %w", d.Path)
		}
	}
	dev, _, err := r.mkdirAll("/dev", 0o755)
	if err != nil {
		return blame(err, "make /dev: %w")
	}
	defer unix.Close(dev)
	// Always the container's own terminals, whatever the image had.
	if err := unix.Unlinkat(dev, "ptmx", 0); err != nil && err != unix.ENOENT {
		return blame(err, "remove /dev/ptmx: %w")
	}
	for _, link := range [][2]string{
		{"pts/ptmx", "ptmx"},
		{"/proc/self/fd", "fd"},
		{"/proc/self/fd/0", "stdin"},
		{"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"},
		{"/proc/kcore", "core"},
	} {
		if link[1] == "core" && unix.Access(link[0], unix.F_OK) != nil {
			continue // a kernel without CONFIG_PROC_KCORE
		}
		if err := unix.Symlinkat(link[0], dev, link[1]); err != nil && err != unix.EEXIST {
			return blame(err, "link /dev/%s to %s: %w", link[1], link[0])
		}
	}
	return nil
}

func (r *root) makeDevice(d *Device) error {
	dir, _, err := r.mkdirAll(path.Dir(d.Path), 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	name := path.Base(d.Path)
	err = unix.Mknodat(dir, name, d.Mode, int(d.Dev))
	switch err {
	case nil:
		if d.UID == 0 && d.GID == 0 {
			return nil
		}
		return unix.Fchownat(dir, name, d.UID, d.GID, unix.AT_SYMLINK_NOFOLLOW)
	case unix.EEXIST:
		return nil
	case unix.EPERM:
		return bindDevice(d, dir, name)
	}
	return err
}

// bindDevice is for hosts that are containers themselves and may not make
// nodes.
func bindDevice(d *Device, dir int, name string) error {
	at, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	fd, err := unix.OpenTree(unix.AT_FDCWD, d.Path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("bind the host's: %w", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != d.Mode&unix.S_IFMT || st.Rdev != d.Dev {
		return fmt.Errorf("the host's %s is another device: %w", d.Path, unix.EINVAL)
	}
	return attach(fd, at)
}

// reopenNull exchanges the host's /dev/null among the program's stdio for the
// container's, so that /proc/self/fd leads nowhere else.
func (r *root) reopenNull() error {
	null := -1
	for fd := range 3 {
		if !isNull(fd) {
			continue
		}
		if null < 0 {
			var err error
			if null, err = r.openNull(unix.O_RDWR); err != nil {
				return err
			}
			defer unix.Close(null)
		}
		if err := unix.Dup3(null, fd, 0); err != nil {
			return fmt.Errorf("reopen /dev/null as descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// openNull opens the container's /dev/null, which an image could have made
// anything, such as a link to what it wants opened or mounted (CVE-2025-31133).
func (r *root) openNull(flags uint64) (int, error) {
	fd, err := r.tree.open("/dev/null", unix.O_PATH)
	if err != nil {
		return -1, blame(err, "open the container's /dev/null: %w")
	}
	if !isNull(fd) {
		unix.Close(fd)
		return -1, invalid("the container's /dev/null is not the null device; remove it from the image or mount a tmpfs on /dev")
	}
	if flags == unix.O_PATH {
		return fd, nil
	}
	defer unix.Close(fd)
	opened, err := unix.Open(magic(fd), int(flags)|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, blame(err, "open the container's /dev/null: %w")
	}
	return opened, nil
}

func isNull(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}
