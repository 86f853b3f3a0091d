package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// OOMKills returns how many processes of the cgroup the kernel has killed for
// want of memory since the cgroup was made. The kernel counts before it kills,
// so that whoever has seen the exit of a process finds it counted. A cgroup
// without a memory controller, or a deleted one, has none.
func (c *Cgroup) OOMKills() (uint64, error) {
	// "oom_kill" is in memory.oom_control since Linux 4.13, and in
	// memory.events of cgroup v2, where it counts cgroups below, too.
	file := "memory.oom_control"
	if c.host.unified() {
		file = "memory.events"
	}
	dir, ok := c.host.dir("memory", c.target.path)
	if !ok {
		return 0, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) || gone(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count OOM kills of cgroup: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			return strconv.ParseUint(n, 10, 64)
		}
	}
	return 0, nil
}
