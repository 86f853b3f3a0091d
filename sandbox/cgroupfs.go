package sandbox

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroup mounts what the spec calls the file system "cgroup": with cgroup v2
// its one hierarchy, otherwise a tmpfs with a directory for each hierarchy of
// v1. As in runc, the hybrid layout counts as v1 and shows no v2 hierarchy.
func (r *root) cgroup(m *Mount) error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil {
		return fmt.Errorf("find the host's cgroups: %w", err)
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		v2 := *m
		v2.Type, v2.Source = "cgroup2", "cgroup"
		return r.fresh(&v2)
	}
	hierarchies, err := hierarchies()
	if err != nil {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	dir := *m
	dir.Type, dir.Source, dir.Data = "tmpfs", "tmpfs", "mode=755"
	dir.Flags = flags | m.Flags&unix.MS_RDONLY
	if err := r.fresh(&dir); err != nil {
		return err
	}
	for _, h := range hierarchies {
		if err := r.hierarchy(m, h, flags|m.Flags); err != nil {
			return fmt.Errorf("cgroup hierarchy %s: %w", h.name, err)
		}
	}
	return nil
}

// hierarchy mounts one hierarchy of cgroup v1, with the container's cgroup as
// its root, and links the names of controllers that share it.
func (r *root) hierarchy(m *Mount, h hierarchy, flags uintptr) error {
	at, _, err := r.mkdirAll(path.Join(m.Destination, h.name), 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if r.config.NewCgroup || r.config.joins(unix.CLONE_NEWCGROUP) {
		err = unix.Mount("cgroup", magic(at), "cgroup", flags, h.controllers)
	} else {
		err = bindInto(path.Join(h.mountpoint, h.own), at, flags)
	}
	if err != nil {
		return err
	}
	if !strings.Contains(h.name, ",") {
		return nil
	}
	dir, err := r.tree.open(m.Destination, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	for _, controller := range strings.Split(h.name, ",") {
		if err := unix.Symlinkat(h.name, dir, controller); err != nil && err != unix.EEXIST {
			return err
		}
	}
	return nil
}

func bindInto(source string, at int, flags uintptr) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := attach(fd, at); err != nil {
		return err
	}
	a := Attr{Set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}
	if flags&unix.MS_RDONLY != 0 {
		a.Set |= unix.MOUNT_ATTR_RDONLY
	}
	return setAttr(fd, a, false)
}

// hierarchy is a mounted hierarchy of cgroup v1.
type hierarchy struct {
	// name is the last component of its mount point: "cpu,cpuacct".
	name string
	// mountpoint is where the host has it.
	mountpoint string
	// controllers is the mount option that selects it.
	controllers string
	// own is the cgroup of this process, relative to the mount point.
	own string
}

// hierarchies reads the host's /proc.
func hierarchies() ([]hierarchy, error) {
	cgroups, err := readFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	mounts, err := readFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseHierarchies(cgroups, mounts), nil
}

// parseHierarchies matches the lines of /proc/<pid>/cgroup, such as
// "4:cpu,cpuacct:/a/b", with those of /proc/<pid>/mountinfo, such as
// "33 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu".
func parseHierarchies(cgroups, mounts string) []hierarchy {
	own := make(map[string]string) // by controllers
	for line := range strings.Lines(cgroups) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) == 3 && f[1] != "" {
			own[f[1]] = f[2]
		}
	}
	var found []hierarchy
	seen := make(map[string]bool)
	for line := range strings.Lines(mounts) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 3 || right[0] != "cgroup" {
			continue
		}
		for controllers, cgroup := range own {
			if seen[controllers] || !hasAll(right[2], controllers) {
				continue
			}
			mountRoot, mountpoint := unescape(left[3]), unescape(left[4])
			rel, err := filepath.Rel(mountRoot, cgroup)
			if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
				continue // this mount shows another part of the hierarchy
			}
			seen[controllers] = true
			found = append(found, hierarchy{
				name:        path.Base(mountpoint),
				mountpoint:  mountpoint,
				controllers: controllers,
				own:         rel,
			})
		}
	}
	return found
}

// hasAll says whether every word of a comma-separated list is in the other.
func hasAll(list, words string) bool {
	for w := range strings.SplitSeq(words, ",") {
		if !strings.Contains(","+list+",", ","+w+",") {
			return false
		}
	}
	return true
}

// unescape undoes what mountinfo does to white space and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func readFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var b strings.Builder
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil {
			return "", err
		}
		if n == 0 {
			return b.String(), nil
		}
		b.Write(buf[:n])
	}
}
