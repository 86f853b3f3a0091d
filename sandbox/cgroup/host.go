package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// fsRoot is where every distribution mounts its cgroup hierarchies.
const fsRoot = "/sys/fs/cgroup"

// host says which cgroup hierarchies are mounted and where. It is immutable.
type host struct {
	// v1 maps a controller, or "name=systemd", to the mount point of its
	// hierarchy. Controllers that are mounted together share one. It is empty on
	// a pure v2 host.
	v1 map[string]string
	// v2 is the mount point of the unified hierarchy, "" when there is none. On a
	// hybrid host it carries no controllers, but has cgroup.kill and the
	// populated event.
	v2 string
}

// unified reports whether the controllers are those of cgroup v2.
func (h *host) unified() bool { return len(h.v1) == 0 }

// discover finds the hierarchies of this machine. Pure v2 needs one statfs, so
// that a node with thousands of mounts does not parse them for every container.
func discover() (*host, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(fsRoot, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return &host{v2: fsRoot}, nil
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find cgroup hierarchies: %w", err)
	}
	defer f.Close()
	mounts, err := mountinfo.GetMountsFromReader(f, mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("find cgroup hierarchies: %w", err)
	}
	return hostOf(mounts)
}

// hostOf picks one mount per hierarchy; when a hierarchy is mounted more than
// once, the one below /sys/fs/cgroup wins over copies made for containers.
func hostOf(mounts []*mountinfo.Info) (*host, error) {
	h := &host{v1: map[string]string{}}
	better := func(old, mountpoint string) bool {
		return old == "" || !strings.HasPrefix(old, fsRoot+"/") && strings.HasPrefix(mountpoint, fsRoot+"/")
	}
	for _, m := range mounts {
		if m.FSType == "cgroup2" {
			if better(h.v2, m.Mountpoint) {
				h.v2 = m.Mountpoint
			}
			continue
		}
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			if !slices.Contains(v1Controllers, option) && !strings.HasPrefix(option, "name=") {
				continue // rw, xattr, release_agent=, clone_children, …
			}
			if better(h.v1[option], m.Mountpoint) {
				h.v1[option] = m.Mountpoint
			}
		}
	}
	if h.unified() && h.v2 == "" {
		return nil, fmt.Errorf("find cgroup hierarchies: none is mounted below %s", fsRoot)
	}
	return h, nil
}

// v1Controllers are the controllers that a v1 hierarchy can carry.
var v1Controllers = []string{
	"blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb",
	"memory", "misc", "net_cls", "net_prio", "perf_event", "pids", "rdma",
}

// mounts returns every mount point once. The unified hierarchy is first, since
// it answers which processes there are; a pids or memory hierarchy comes next.
func (h *host) mounts() []string {
	var all []string
	add := func(mountpoint string) {
		if mountpoint != "" && !slices.Contains(all, mountpoint) {
			all = append(all, mountpoint)
		}
	}
	add(h.v2)
	add(h.v1["pids"])
	add(h.v1["memory"])
	rest := make([]string, 0, len(h.v1))
	for _, m := range h.v1 {
		rest = append(rest, m)
	}
	slices.Sort(rest)
	for _, m := range rest {
		add(m)
	}
	return all
}

// dir returns the directory in which the files of a controller lie for path.
func (h *host) dir(controller, path string) (string, bool) {
	if h.unified() {
		return filepath.Join(h.v2, path), true
	}
	m, ok := h.v1[controller]
	return filepath.Join(m, path), ok
}
