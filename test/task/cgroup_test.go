package task

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/cgroups/v3/cgroup1/stats"
	stats2 "github.com/containerd/cgroups/v3/cgroup2/stats"
)

const cgroupRoot = "/sys/fs/cgroup"

// unified says whether cgroup v2 is all there is.
func unified() bool {
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil
}

// files are the kernel's control files of one cgroup.
type files struct {
	t    testing.TB
	path string
}

// text returns a file's content: v1 is CONTROLLER/FILE, v2 the file.
func (f files) text(v1, v2 string) string {
	f.t.Helper()
	path := filepath.Join(cgroupRoot, f.path, v2)
	if !unified() {
		path = filepath.Join(cgroupRoot, filepath.Dir(v1), f.path, filepath.Base(v1))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// number reads a file with one number, or the word for none.
func (f files) number(v1, v2 string) uint64 {
	f.t.Helper()
	return f.parse(f.text(v1, v2))
}

// keyed reads the number after a key in a file with one pair on a line.
func (f files) keyed(v1, key1, v2, key2 string) uint64 {
	f.t.Helper()
	key := key1
	if unified() {
		key = key2
	}
	for line := range strings.Lines(f.text(v1, v2)) {
		if name, n, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == key {
			return f.parse(n)
		}
	}
	f.t.Fatalf("%s has no %s:\n%s", v1, key, f.text(v1, v2))
	return 0
}

func (f files) parse(s string) uint64 {
	f.t.Helper()
	if s == "max" {
		return math.MaxUint64
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// measures are what monitoring looks at, by either version of cgroups. Memory is
// in bytes, processor time in nanoseconds.
type measures struct {
	memory, memoryLimit, inactiveFile, anonymous uint64
	cpu, periods, throttled                      uint64
	pids, pidsLimit                              uint64
	oomKills                                     uint64
	read                                         uint64 // bytes from block devices
	hugetlb                                      string
}

// workingSet is what `kubectl top` shows and a HorizontalPodAutoscaler sees:
// CRI computes it from these two.
func (m measures) workingSet() uint64 { return m.memory - m.inactiveFile }

// measure reads the kernel's files.
func (f files) measure() measures {
	f.t.Helper()
	m := measures{
		memory:       f.number("memory/memory.usage_in_bytes", "memory.current"),
		memoryLimit:  f.number("memory/memory.limit_in_bytes", "memory.max"),
		inactiveFile: f.keyed("memory/memory.stat", "total_inactive_file", "memory.stat", "inactive_file"),
		anonymous:    f.keyed("memory/memory.stat", "total_rss", "memory.stat", "anon"),
		periods:      f.keyed("cpu/cpu.stat", "nr_periods", "cpu.stat", "nr_periods"),
		throttled:    f.keyed("cpu/cpu.stat", "nr_throttled", "cpu.stat", "nr_throttled"),
		pids:         f.number("pids/pids.current", "pids.current"),
		pidsLimit:    f.number("pids/pids.max", "pids.max"),
		oomKills:     f.keyed("memory/memory.oom_control", "oom_kill", "memory.events", "oom_kill"),
		read:         f.bytesRead(),
		hugetlb:      f.hugetlb(),
	}
	if unified() {
		m.cpu = f.keyed("", "", "cpu.stat", "usage_usec") * 1000
	} else {
		m.cpu = f.number("cpuacct/cpuacct.usage", "")
		if m.pidsLimit == math.MaxUint64 {
			m.pidsLimit = 0 // as metrics of v1 say it
		}
	}
	return m
}

// bytesRead adds up the devices: lines "8:0 Read 4096" or "8:0 rbytes=4096 …".
func (f files) bytesRead() (sum uint64) {
	f.t.Helper()
	for line := range strings.Lines(f.text("blkio/blkio.throttle.io_service_bytes_recursive", "io.stat")) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[1] == "Read" {
			sum += f.parse(fields[2])
		}
		for _, field := range fields {
			if n, ok := strings.CutPrefix(field, "rbytes="); ok {
				sum += f.parse(n)
			}
		}
	}
	return sum
}

// hasHugetlb says whether there is a controller of huge pages.
func hasHugetlb() bool {
	if !unified() {
		_, err := os.Stat(filepath.Join(cgroupRoot, "hugetlb", "cgroup.procs"))
		return err == nil
	}
	b, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil && strings.Contains(string(b), "hugetlb")
}

// hugetlb lists the page sizes, their use and limits; empty without the
// controller.
func (f files) hugetlb() (all string) {
	pattern, limit := filepath.Join(cgroupRoot, "hugetlb", f.path, "hugetlb.*B.usage_in_bytes"), "limit_in_bytes"
	if unified() {
		pattern, limit = filepath.Join(cgroupRoot, f.path, "hugetlb.*B.current"), "max"
	}
	found, err := filepath.Glob(pattern)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, path := range found {
		size := strings.Split(filepath.Base(path), ".")[1]
		name := "hugetlb." + size + "."
		if unified() {
			all += hugePages(size, f.number("", name+"current"), f.number("", name+limit))
		} else {
			all += hugePages(size, f.number("hugetlb/"+name+"usage_in_bytes", ""), f.number("hugetlb/"+name+limit, ""))
		}
	}
	return all
}

func hugePages(size string, used, limit uint64) string {
	return fmt.Sprintf("%s %d of %d\n", size, used, limit)
}

// measuresOf takes the same from the metrics that a daemon gets.
func measuresOf(t testing.TB, v any) measures {
	t.Helper()
	switch s := v.(type) {
	case *stats.Metrics:
		m := measures{
			memory: s.Memory.Usage.Usage, memoryLimit: s.Memory.Usage.Limit,
			inactiveFile: s.Memory.TotalInactiveFile, anonymous: s.Memory.TotalRSS,
			cpu: s.CPU.Usage.Total, periods: s.CPU.Throttling.Periods, throttled: s.CPU.Throttling.ThrottledPeriods,
			pids: s.Pids.Current, pidsLimit: s.Pids.Limit,
			oomKills: s.MemoryOomControl.OomKill,
		}
		for _, e := range s.Blkio.GetIoServiceBytesRecursive() {
			if e.Op == "Read" {
				m.read += e.Value
			}
		}
		for _, h := range s.Hugetlb {
			m.hugetlb += hugePages(h.Pagesize, h.Usage, h.Max)
		}
		if unified() {
			t.Errorf("the metrics are those of cgroup v1")
		}
		return m
	case *stats2.Metrics:
		m := measures{
			memory: s.Memory.Usage, memoryLimit: s.Memory.UsageLimit,
			inactiveFile: s.Memory.InactiveFile, anonymous: s.Memory.Anon,
			cpu: s.CPU.UsageUsec * 1000, periods: s.CPU.NrPeriods, throttled: s.CPU.NrThrottled,
			pids: s.Pids.Current, pidsLimit: s.Pids.Limit,
			oomKills: s.MemoryEvents.OomKill,
		}
		for _, e := range s.Io.GetUsage() {
			m.read += e.Rbytes
		}
		for _, h := range s.Hugetlb {
			m.hugetlb += hugePages(h.Pagesize, h.Current, h.Max)
		}
		if !unified() {
			t.Errorf("the metrics are those of cgroup v2")
		}
		return m
	}
	t.Fatalf("metrics of type %T", v)
	return measures{}
}
