package cgroup

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/containerd/errdefs"
)

// Stat reads the metrics: a *Metrics of cgroup1/stats, or of cgroup2/stats on a
// pure v2 host, which are the types that containerd and CRI decode. It fails with
// errdefs.ErrNotFound when the cgroup does not exist.
func (c *Cgroup) Stat() (any, error) {
	if len(c.dirs()) == 0 {
		return nil, fmt.Errorf("metrics of cgroup %s: %w", c.target.path, errdefs.ErrNotFound)
	}
	if c.host.unified() {
		m, err := cgroup2.Load(c.target.path, cgroup2.WithMountpoint(c.host.v2))
		if err != nil {
			return nil, fmt.Errorf("metrics of cgroup %s: %w", c.target.path, err)
		}
		stats, err := m.Stat()
		if err != nil {
			return nil, fmt.Errorf("metrics of cgroup %s: %w", c.target.path, err)
		}
		return stats, nil
	}
	cg, err := cgroup1.Load(cgroup1.StaticPath(c.target.path), cgroup1.WithHierarchy(c.host.subsystems))
	if err != nil {
		return nil, fmt.Errorf("metrics of cgroup %s: %w", c.target.path, err)
	}
	stats, err := cg.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		return nil, fmt.Errorf("metrics of cgroup %s: %w", c.target.path, err)
	}
	return stats, nil
}

// subsystems lists the mounted v1 controllers that have metrics.
func (h *host) subsystems() ([]cgroup1.Subsystem, error) {
	var all []cgroup1.Subsystem
	for _, controller := range v1Controllers {
		mountpoint, ok := h.v1[controller]
		if !ok {
			continue
		}
		// containerd/cgroups looks in root/controller; distributions that mount
		// cpu,cpuacct together link both names to it.
		root := filepath.Dir(mountpoint)
		if _, err := os.Stat(filepath.Join(root, controller)); err != nil {
			continue
		}
		switch cgroup1.Name(controller) {
		case cgroup1.Blkio:
			all = append(all, cgroup1.NewBlkio(root))
		case cgroup1.Cpu:
			all = append(all, cgroup1.NewCpu(root))
		case cgroup1.Cpuacct:
			all = append(all, cgroup1.NewCpuacct(root))
		case cgroup1.Hugetlb:
			s, err := cgroup1.NewHugetlb(root)
			if err != nil {
				continue // no huge pages in this kernel
			}
			all = append(all, s)
		case cgroup1.Memory:
			all = append(all, cgroup1.NewMemory(root, cgroup1.IgnoreModules(absentModules(mountpoint)...)))
		case cgroup1.Pids:
			all = append(all, cgroup1.NewPids(root))
		case cgroup1.Rdma:
			all = append(all, cgroup1.NewRdma(root))
		}
	}
	return all, nil
}

// absentModules names the counters that this kernel does not have (no swap
// accounting, no kmem): containerd/cgroups stops halfway when it misses one.
func absentModules(mountpoint string) []string {
	var absent []string
	for _, module := range []string{"memsw", "kmem", "kmem.tcp"} {
		if _, err := os.Stat(filepath.Join(mountpoint, "memory."+module+".usage_in_bytes")); err != nil {
			absent = append(absent, module)
		}
	}
	return absent
}
