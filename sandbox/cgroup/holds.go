package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// CheckHolds returns an error when the main thread of a process is in another cgroup
// in a hierarchy that has this one. It fails with errdefs.ErrNotFound when the
// process has ended.
func (c *Cgroup) CheckHolds(pid int) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return errors.Join(errdefs.ErrNotFound, err)
	}
	if err != nil {
		return fmt.Errorf("find the cgroup of process %d: %w", pid, err)
	}
	have := c.dirs()
	for line := range strings.Lines(string(b)) {
		// "4:cpu,cpuacct:/a/b", for v2 "0::/a/b"
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		mountpoint := c.host.v2
		if f[1] != "" {
			controller, _, _ := strings.Cut(f[1], ",")
			mountpoint = c.host.v1[controller]
		}
		if mountpoint == "" || !slices.Contains(have, filepath.Join(mountpoint, c.target.path)) {
			continue
		}
		// The mount may show a part of the hierarchy, and the path begins above.
		if strings.HasSuffix(f[2], c.target.path) {
			continue
		}
		if exiting(pid) { // v1 says that it is in the root then
			return fmt.Errorf("process %d ends: %w", pid, errdefs.ErrNotFound)
		}
		return fmt.Errorf("process %d is in cgroup %s of hierarchy %q, not in %s", pid, f[2], f[1], c.target.path)
	}
	return nil
}

// exiting says whether the main thread of a process has begun to end, or is gone.
func exiting(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	// The fields after the name, which may hold anything, are of the kernel's
	// making; the seventh is its flags (proc_pid_stat(5)).
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 7 {
		return false
	}
	const exiting = 0x4 // PF_EXITING
	flags, err := strconv.ParseUint(f[6], 10, 64)
	return err == nil && flags&exiting != 0
}
