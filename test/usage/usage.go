// Package usage says what a cgroup uses, once by the kernel's own files and once
// by the metrics that containerd passes on, so that tests can compare the two.
package usage

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Root is where cgroup v2 or the hierarchies of v1 are mounted.
const Root = "/sys/fs/cgroup"

// Unified says whether cgroup v2 is all there is.
func Unified() bool {
	_, err := os.Stat(filepath.Join(Root, "cgroup.controllers"))
	return err == nil
}

// Files are the kernel's control files of one cgroup.
type Files struct {
	T testing.TB
	// Path is the cgroup's, relative to the root of each hierarchy.
	Path string
}

// Text returns a file's content: v1 is CONTROLLER/FILE, v2 the file.
func (f Files) Text(v1, v2 string) string {
	f.T.Helper()
	path := filepath.Join(Root, f.Path, v2)
	if !Unified() {
		path = filepath.Join(Root, filepath.Dir(v1), f.Path, filepath.Base(v1))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.T.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// number reads a file with one number, or the word for none.
func (f Files) number(v1, v2 string) uint64 {
	f.T.Helper()
	return f.parse(f.Text(v1, v2))
}

// keyed reads the number after a key in a file with one pair on a line.
func (f Files) keyed(v1, key1, v2, key2 string) uint64 {
	f.T.Helper()
	key := key1
	if Unified() {
		key = key2
	}
	for line := range strings.Lines(f.Text(v1, v2)) {
		if name, n, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == key {
			return f.parse(n)
		}
	}
	f.T.Fatalf("%s has no %s:\n%s", v1, key, f.Text(v1, v2))
	return 0
}

func (f Files) parse(s string) uint64 {
	f.T.Helper()
	if s == "max" {
		return math.MaxUint64
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		f.T.Fatal(err)
	}
	return n
}

// Usage is what monitoring looks at, by either version of cgroups. Memory is in
// bytes, processor time in nanoseconds.
type Usage struct {
	Memory, MemoryLimit, InactiveFile, Anonymous uint64
	CPU, Periods, Throttled                      uint64
	Pids, PidsLimit                              uint64
	OOMKills                                     uint64
	Read                                         uint64 // bytes from block devices
	Hugetlb                                      string // a line for each size, sorted
}

// WorkingSet is what `kubectl top` shows, as CRI computes it.
func (u Usage) WorkingSet() uint64 { return u.Memory - u.InactiveFile }

// Usage reads the kernel's files.
func (f Files) Usage() Usage {
	f.T.Helper()
	u := Usage{
		Memory:       f.number("memory/memory.usage_in_bytes", "memory.current"),
		MemoryLimit:  f.number("memory/memory.limit_in_bytes", "memory.max"),
		InactiveFile: f.keyed("memory/memory.stat", "total_inactive_file", "memory.stat", "inactive_file"),
		Anonymous:    f.keyed("memory/memory.stat", "total_rss", "memory.stat", "anon"),
		Periods:      f.keyed("cpu/cpu.stat", "nr_periods", "cpu.stat", "nr_periods"),
		Throttled:    f.keyed("cpu/cpu.stat", "nr_throttled", "cpu.stat", "nr_throttled"),
		Pids:         f.number("pids/pids.current", "pids.current"),
		PidsLimit:    f.number("pids/pids.max", "pids.max"),
		OOMKills:     f.keyed("memory/memory.oom_control", "oom_kill", "memory.events", "oom_kill"),
		Read:         f.bytesRead(),
		Hugetlb:      f.hugetlb(),
	}
	if Unified() {
		u.CPU = f.keyed("", "", "cpu.stat", "usage_usec") * 1000
	} else {
		u.CPU = f.number("cpuacct/cpuacct.usage", "")
		if u.PidsLimit == math.MaxUint64 {
			u.PidsLimit = 0 // as metrics of v1 say it
		}
	}
	return u
}

// bytesRead adds up the devices: lines "8:0 Read 4096" or "8:0 rbytes=4096 …".
func (f Files) bytesRead() (sum uint64) {
	f.T.Helper()
	for line := range strings.Lines(f.Text("blkio/blkio.throttle.io_service_bytes_recursive", "io.stat")) {
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

// HasHugetlb says whether there is a controller of huge pages.
func HasHugetlb() bool {
	if !Unified() {
		_, err := os.Stat(filepath.Join(Root, "hugetlb", "cgroup.procs"))
		return err == nil
	}
	b, err := os.ReadFile(filepath.Join(Root, "cgroup.controllers"))
	return err == nil && strings.Contains(string(b), "hugetlb")
}

// hugetlb lists the page sizes, their use and limits; empty without the
// controller.
func (f Files) hugetlb() string {
	pattern, limit := filepath.Join(Root, "hugetlb", f.Path, "hugetlb.*B.usage_in_bytes"), "limit_in_bytes"
	if Unified() {
		pattern, limit = filepath.Join(Root, f.Path, "hugetlb.*B.current"), "max"
	}
	found, err := filepath.Glob(pattern)
	if err != nil {
		f.T.Fatal(err)
	}
	var all []string
	for _, path := range found {
		size := strings.Split(filepath.Base(path), ".")[1]
		name := "hugetlb." + size + "."
		if Unified() {
			all = append(all, HugePages(size, f.number("", name+"current"), f.number("", name+limit)))
		} else {
			all = append(all, HugePages(size, f.number("hugetlb/"+name+"usage_in_bytes", ""), f.number("hugetlb/"+name+limit, "")))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

// HugePages is how Usage tells one size of huge pages.
func HugePages(size string, used, limit uint64) string {
	return fmt.Sprintf("%s %d of %d\n", size, used, limit)
}
