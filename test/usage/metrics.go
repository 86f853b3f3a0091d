package usage

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1/stats"
	stats2 "github.com/containerd/cgroups/v3/cgroup2/stats"
)

// OfMetrics takes the same from the metrics of a task, which have to be of the
// machine's version of cgroups.
func OfMetrics(t testing.TB, metrics any) Usage {
	t.Helper()
	var u Usage
	var v2 bool
	switch m := metrics.(type) {
	case *stats.Metrics:
		u = ofV1(m)
	case *stats2.Metrics:
		u, v2 = ofV2(m), true
	default:
		t.Fatalf("metrics of type %T", metrics)
	}
	if v2 != Unified() {
		t.Errorf("metrics of type %T are not those of this machine's cgroups", metrics)
	}
	return u
}

func ofV1(m *stats.Metrics) Usage {
	u := Usage{
		Memory:       m.Memory.Usage.Usage,
		MemoryLimit:  m.Memory.Usage.Limit,
		InactiveFile: m.Memory.TotalInactiveFile,
		Anonymous:    m.Memory.TotalRSS,
		CPU:          m.CPU.Usage.Total,
		Periods:      m.CPU.Throttling.Periods,
		Throttled:    m.CPU.Throttling.ThrottledPeriods,
		Pids:         m.Pids.Current,
		PidsLimit:    m.Pids.Limit,
		OOMKills:     m.MemoryOomControl.OomKill,
	}
	for _, e := range m.Blkio.GetIoServiceBytesRecursive() {
		if e.Op == "Read" {
			u.Read += e.Value
		}
	}
	var pages []string
	for _, h := range m.Hugetlb {
		pages = append(pages, HugePages(h.Pagesize, h.Usage, h.Max))
	}
	slices.Sort(pages)
	u.Hugetlb = strings.Join(pages, "")
	return u
}

func ofV2(m *stats2.Metrics) Usage {
	u := Usage{
		Memory:       m.Memory.Usage,
		MemoryLimit:  m.Memory.UsageLimit,
		InactiveFile: m.Memory.InactiveFile,
		Anonymous:    m.Memory.Anon,
		CPU:          m.CPU.UsageUsec * 1000,
		Periods:      m.CPU.NrPeriods,
		Throttled:    m.CPU.NrThrottled,
		Pids:         m.Pids.Current,
		PidsLimit:    m.Pids.Limit,
		OOMKills:     m.MemoryEvents.OomKill,
	}
	for _, e := range m.Io.GetUsage() {
		u.Read += e.Rbytes
	}
	var pages []string
	for _, h := range m.Hugetlb {
		pages = append(pages, HugePages(h.Pagesize, h.Current, h.Max))
	}
	slices.Sort(pages)
	u.Hugetlb = strings.Join(pages, "")
	return u
}

// CPU is the processor time in the metrics of a task.
func CPU(metrics any) (time.Duration, error) {
	switch m := metrics.(type) {
	case *stats.Metrics:
		return time.Duration(m.CPU.Usage.Total), nil
	case *stats2.Metrics:
		return time.Duration(m.CPU.UsageUsec) * time.Microsecond, nil
	}
	return 0, fmt.Errorf("metrics of type %T", metrics)
}
