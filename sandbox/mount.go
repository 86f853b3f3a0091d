package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount makes one of the spec's mounts.
func (r *root) mount(m *Mount) error {
	var err error
	switch {
	case m.Bind:
		err = r.bind(m)
	case m.Type == "cgroup":
		err = r.cgroup(m)
	default:
		err = r.fresh(m)
	}
	return m.blame(err)
}

func (m *Mount) blame(err error) error {
	if err == nil {
		return nil
	}
	return blame(err, "mounts[%d]: mount %s on %s: %w", m.Index, m.what(), m.Destination)
}

func (m *Mount) what() string {
	if m.Bind {
		return m.Source
	}
	return m.Type
}

// bind mounts a file or directory of the host. The clone of its mount is
// attached by descriptor, so that neither end can be exchanged meanwhile, and
// keeps the flags of the source where the spec does not change them: a bind of
// a nosuid mount stays nosuid.
func (r *root) bind(m *Mount) error {
	fd, err := m.FD, error(nil)
	if fd == 0 {
		if fd, err = m.open(-1); err != nil {
			return err
		}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	var at int
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		at, _, err = r.mkdirAll(m.Destination, 0o755)
	} else {
		at, err = r.createFile(m.Destination)
	}
	if err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	defer unix.Close(at)
	if err := r.checkPlace(at, m, fd); err != nil {
		return err
	}
	if err := attach(fd, at); err != nil {
		return err
	}
	if m.Attr != (Attr{}) {
		if err := setAttr(fd, m.Attr, false); err != nil {
			return err
		}
	}
	if m.AttrBelow != (Attr{}) {
		if err := setAttr(fd, m.AttrBelow, true); err != nil {
			return err
		}
	}
	return propagate(fd, m.Propagation)
}

// open returns a detached clone of the source's mount, id-mapped if it is to be.
// user is the container's user namespace, or -1.
func (m *Mount) open(user int) (_ int, err error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if m.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
	if err != nil || m.IDMap == "" {
		return fd, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if m.IDs != nil {
		if user, err = newUserNamespace(m.IDs); err != nil {
			return -1, err
		}
		defer unix.Close(user)
	}
	return fd, mapMount(fd, user, m.IDMap == "ridmap")
}

// fresh mounts a new file system.
func (r *root) fresh(m *Mount) error {
	t := r.tree
	data := m.Data
	switch m.Type {
	case "proc", "sysfs":
		// An image that makes /proc a symlink wants it somewhere else.
		t = t.strict()
	case "tmpfs":
		if label := r.config.MountLabel; label != "" {
			data = join(data, `context="`+label+`"`)
		}
	case "mqueue":
		// Takes no context option; labelled when it is mounted.
	default:
		if label := r.config.MountLabel; label != "" {
			data = join(data, `context="`+label+`"`)
		}
	}
	at, made, err := t.mkdirAll(m.Destination, 0o755)
	if err == unix.ELOOP || err == unix.ENOTDIR {
		return fmt.Errorf("%s must be mounted on a real directory, but the image has something else at %s: %w", m.Type, m.Destination, err)
	}
	if err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	defer unix.Close(at)
	if err := r.checkPlace(at, m, -1); err != nil {
		return err
	}
	if m.Type == "tmpfs" && !made {
		// A tmpfs over a directory of the image looks like that directory.
		var st unix.Stat_t
		if err := unix.Fstat(at, &st); err != nil {
			return err
		}
		data = join("mode="+strconv.FormatUint(uint64(st.Mode&0o7777), 8), data)
	}
	// Mount points are still to be made below a tmpfs and /dev.
	flags, late := m.Flags, false
	if flags&unix.MS_RDONLY != 0 && (m.Type == "tmpfs" || isDev(m.Destination)) {
		flags, late = flags&^unix.MS_RDONLY, true
	}
	if err := unix.Mount(m.Source, magic(at), m.Type, flags, data); err != nil {
		return err
	}
	label := m.Type == "mqueue" && r.config.MountLabel != ""
	fill := m.CopyUp && !made
	if !late && !label && !fill && len(m.Propagation) == 0 {
		return nil
	}
	top, err := r.top(t, m.Destination, at)
	if err != nil {
		return err
	}
	if late {
		r.late = append(r.late, top)
	} else {
		defer unix.Close(top)
	}
	if fill {
		if err := copyUp(at, top); err != nil {
			return fmt.Errorf("copy what the image has there: %w", err)
		}
	}
	if label {
		if err := unix.Setxattr(magic(top), "security.selinux", []byte(r.config.MountLabel), 0); err != nil {
			return fmt.Errorf("linux.mountLabel: %w", err)
		}
	}
	return propagate(top, m.Propagation)
}

// top opens the mount that was just made over the directory at: mount(2)
// returns no descriptor of it. That the path leads to the root of some mount
// on that very place is checked, since whoever shares the image's files could
// have exchanged the path meanwhile.
func (r *root) top(t tree, path string, at int) (int, error) {
	fd, err := t.open(path, unix.O_PATH)
	if err != nil {
		return -1, fmt.Errorf("find the new mount: %w", err)
	}
	below, err1 := r.locate(at)
	above, err2 := r.locate(fd)
	if err1 != nil || err2 != nil || below != above || sameFile(at, fd) {
		unix.Close(fd)
		return -1, fmt.Errorf("find the new mount: %s was moved meanwhile: %w", path, unix.EXDEV)
	}
	return fd, nil
}

// attach puts a detached mount onto an open file or directory.
func attach(fd, at int) error {
	return unix.MoveMount(fd, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// checkPlace refuses mounts over the root and inside /proc, which would let an
// image or a volume present a false /proc to whoever relies on it. As in runc,
// a procfs may be put on /proc, and the files that lxcfs provides in it.
func (r *root) checkPlace(at int, m *Mount, source int) error {
	place, err := r.locate(at)
	if err != nil {
		return err
	}
	if place == "/" {
		return invalid("mounts[%d].destination: %s is the container's root itself; mount it elsewhere", m.Index, m.Destination)
	}
	if place == "/proc" {
		if m.Type == "proc" {
			return nil
		}
		var fs unix.Statfs_t
		if source >= 0 && unix.Fstatfs(source, &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC {
			return nil
		}
		return invalid("mounts[%d].destination: only a proc file system can be mounted on /proc, not %s; mount it elsewhere", m.Index, m.what())
	}
	rest, ok := strings.CutPrefix(place, "/proc/")
	if ok && !slices.Contains(lxcfsFiles(), rest) {
		return invalid("mounts[%d].destination: %s is inside /proc; mount it elsewhere", m.Index, m.Destination)
	}
	return nil
}

func lxcfsFiles() []string {
	return []string{
		"cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg",
		"slabinfo", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
	}
}

// setAttr changes the attributes of an attached mount, of those below it, too,
// if asked.
func setAttr(fd int, a Attr, below bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if below {
		flags |= unix.AT_RECURSIVE
	}
	err := unix.MountSetattr(fd, "", flags, &unix.MountAttr{Attr_set: a.Set, Attr_clr: a.Clear})
	if err != unix.ENOSYS {
		return err
	}
	// Before Linux 5.12 there are only the flags of mount(2), which replace
	// those that the mount has.
	if below {
		return fmt.Errorf("recursive mount options need Linux 5.12 or newer: %w", unix.EINVAL)
	}
	return remount(fd, a)
}

func remount(fd int, a Attr) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	return unix.Mount("", magic(fd), "", unix.MS_REMOUNT|unix.MS_BIND|remountFlags(uint64(fs.Flags), a), "")
}

// remountFlags gives the flags of mount(2) for a mount that has the flags st of
// statfs(2) and is to be changed by a.
func remountFlags(st uint64, a Attr) uintptr {
	const stNosymfollow = 0x2000 // <linux/statfs.h>
	var flags uintptr
	for _, f := range []struct {
		st, attr uint64
		ms       uintptr
	}{
		{unix.ST_RDONLY, unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY},
		{unix.ST_NOSUID, unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID},
		{unix.ST_NODEV, unix.MOUNT_ATTR_NODEV, unix.MS_NODEV},
		{unix.ST_NOEXEC, unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME, unix.MS_NODIRATIME},
		{stNosymfollow, unix.MOUNT_ATTR_NOSYMFOLLOW, unix.MS_NOSYMFOLLOW},
	} {
		if (st&f.st != 0 || a.Set&f.attr != 0) && a.Clear&f.attr == 0 {
			flags |= f.ms
		}
	}
	switch {
	case a.Clear&unix.MOUNT_ATTR__ATIME == 0 && st&unix.ST_NOATIME != 0,
		a.Clear&unix.MOUNT_ATTR__ATIME != 0 && a.Set&unix.MOUNT_ATTR_NOATIME != 0:
		flags |= unix.MS_NOATIME
	case a.Clear&unix.MOUNT_ATTR__ATIME == 0 && st&unix.ST_RELATIME == 0,
		a.Clear&unix.MOUNT_ATTR__ATIME != 0 && a.Set&unix.MOUNT_ATTR_STRICTATIME != 0:
		flags |= unix.MS_STRICTATIME
	default:
		flags |= unix.MS_RELATIME
	}
	return flags
}

func propagate(fd int, flags []uintptr) error {
	for _, f := range flags {
		if err := unix.Mount("", magic(fd), "", f, ""); err != nil {
			return fmt.Errorf("set its propagation: %w", err)
		}
	}
	return nil
}

func isDev(path string) bool { return strings.Trim(path, "/") == "dev" }

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "," + b
}

func sameFile(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}
