package cgroup

import (
	"fmt"
	"strconv"

	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultPeriod is the kernel's CFS period in microseconds.
const defaultPeriod = 100_000

func (p *planner) cpu(c *specs.LinuxCPU) {
	if shares := value(c.Shares); shares != 0 {
		p.shares(shares)
	}
	quota, period := value(c.Quota), value(c.Period)
	if quota < -1 {
		p.refuse("cpu.quota", "is %d; it is a number of microseconds, or -1 for unlimited", quota)
	}
	if p.v2 {
		if quota != 0 || period != 0 {
			limit := "max"
			if quota > 0 {
				limit = strconv.FormatInt(quota, 10)
			}
			field := "cpu.quota"
			if period == 0 {
				period = defaultPeriod
			} else if quota == 0 {
				field = "cpu.period"
			}
			p.set(field, "cpu", write{"cpu.max", fmt.Sprintf("%s %d", limit, period)})
		}
	} else {
		// The period first: a quota is checked against it.
		if period != 0 {
			p.set("cpu.period", "cpu", write{"cpu.cfs_period_us", strconv.FormatUint(period, 10)})
		}
		if quota != 0 {
			p.set("cpu.quota", "cpu", write{"cpu.cfs_quota_us", strconv.FormatInt(quota, 10)})
		}
	}
	if c.Burst != nil {
		p.either("cpu.burst", "cpu", "cpu.cfs_burst_us", "cpu.max.burst", strconv.FormatUint(*c.Burst, 10))
	}
	if n := value(c.RealtimePeriod); n != 0 {
		p.onlyV1("cpu.realtimePeriod", "cpu", "cpu.rt_period_us", strconv.FormatUint(n, 10))
	}
	if n := value(c.RealtimeRuntime); n != 0 {
		p.onlyV1("cpu.realtimeRuntime", "cpu", "cpu.rt_runtime_us", strconv.FormatInt(n, 10))
	}
	if c.Idle != nil {
		p.set("cpu.idle", "cpu", write{"cpu.idle", strconv.FormatInt(*c.Idle, 10)})
	}
	if c.Cpus != "" {
		p.set("cpu.cpus", "cpuset", write{"cpuset.cpus", c.Cpus})
	}
	if c.Mems != "" {
		p.set("cpu.mems", "cpuset", write{"cpuset.mems", c.Mems})
	}
}

// shares refuses what the kernel would silently clamp, as runc does. A default
// of 1024 is not let off when there is no cpu controller: runc refuses it too.
func (p *planner) shares(shares uint64) {
	if shares < 2 || shares > 262144 {
		p.refuse("cpu.shares", "is %d; it must be between 2 and 262144", shares)
	}
	if p.v2 {
		p.set("cpu.shares", "cpu", write{"cpu.weight", strconv.FormatUint(cgroup2.ConvertCPUSharesToCgroupV2Value(shares), 10)})
		return
	}
	p.set("cpu.shares", "cpu", write{"cpu.shares", strconv.FormatUint(shares, 10)})
}

func (p *planner) blockIO(b *specs.LinuxBlockIO) {
	if w := value(b.Weight); w != 0 {
		p.weight("blockIO.weight", w)
	}
	if w := value(b.LeafWeight); w != 0 {
		p.onlyV1("blockIO.leafWeight", "blkio", "blkio.leaf_weight", strconv.Itoa(int(w)))
	}
	for i, d := range b.WeightDevice {
		field := fmt.Sprintf("blockIO.weightDevice[%d]", i)
		if w := value(d.Weight); w != 0 {
			text := fmt.Sprintf("%d:%d %d", d.Major, d.Minor, w)
			if p.v2 {
				p.set(field, "io", write{"io.bfq.weight", text})
			} else {
				p.set(field, "blkio", write{"blkio.weight_device", text}, write{"blkio.bfq.weight_device", text})
			}
		}
		if w := value(d.LeafWeight); w != 0 {
			p.onlyV1(field+".leafWeight", "blkio", "blkio.leaf_weight_device", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, w))
		}
	}
	for _, t := range []struct {
		field, v1, v2 string
		devices       []specs.LinuxThrottleDevice
	}{
		{"throttleReadBpsDevice", "read_bps_device", "rbps", b.ThrottleReadBpsDevice},
		{"throttleWriteBpsDevice", "write_bps_device", "wbps", b.ThrottleWriteBpsDevice},
		{"throttleReadIOPSDevice", "read_iops_device", "riops", b.ThrottleReadIOPSDevice},
		{"throttleWriteIOPSDevice", "write_iops_device", "wiops", b.ThrottleWriteIOPSDevice},
	} {
		for i, d := range t.devices {
			field := fmt.Sprintf("blockIO.%s[%d]", t.field, i)
			if p.v2 {
				p.set(field, "io", write{"io.max", fmt.Sprintf("%d:%d %s=%d", d.Major, d.Minor, t.v2, d.Rate)})
			} else {
				p.set(field, "blkio", write{"blkio.throttle." + t.v1, fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate)})
			}
		}
	}
}

// weight prefers BFQ, which takes the OCI range of 10 to 1000 as it is; io.weight
// has 1 to 10000 (crun.1, "cgroup v2").
func (p *planner) weight(field string, w uint16) {
	if w < 10 || w > 1000 {
		p.refuse(field, "is %d; it must be between 10 and 1000", w)
		return
	}
	text := strconv.Itoa(int(w))
	if p.v2 {
		p.set(field, "io", write{"io.bfq.weight", text}, write{"io.weight", strconv.Itoa(1 + (int(w)-10)*9999/990)})
		return
	}
	p.set(field, "blkio", write{"blkio.weight", text}, write{"blkio.bfq.weight", text})
}
