package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func ptr[T any](v T) *T { return &v }

// lines prints a plan as one "controller file=text" each; alternatives with "|",
// optional ones with "?".
func lines(settings []setting) []string {
	out := []string{}
	for _, s := range settings {
		var alternatives []string
		for _, w := range s.writes {
			alternatives = append(alternatives, w.file+"="+w.text)
		}
		line := s.controller + " " + strings.Join(alternatives, "|")
		if s.optional {
			line += "?"
		}
		out = append(out, line)
	}
	return out
}

func TestPlan(t *testing.T) {
	throttle := func(major, minor int64, rate uint64) []specs.LinuxThrottleDevice {
		d := specs.LinuxThrottleDevice{Rate: rate}
		d.Major, d.Minor = major, minor
		return []specs.LinuxThrottleDevice{d}
	}
	weighed := specs.LinuxWeightDevice{Weight: ptr(uint16(500))}
	weighed.Major, weighed.Minor = 8, 16
	for _, test := range []struct {
		name   string
		res    specs.LinuxResources
		v1, v2 []string // nil: refused
	}{
		{"nothing", specs.LinuxResources{}, []string{}, []string{}},
		{"zeroes are not set", specs.LinuxResources{
			//lint:ignore SA1019 somebody may still set it
			Memory:  &specs.LinuxMemory{Limit: ptr(int64(0)), Swap: ptr(int64(0)), Reservation: ptr(int64(0)), Kernel: ptr(int64(0)), KernelTCP: ptr(int64(0)), DisableOOMKiller: ptr(false)},
			CPU:     &specs.LinuxCPU{Shares: ptr(uint64(0)), Quota: ptr(int64(0)), Period: ptr(uint64(0)), RealtimePeriod: ptr(uint64(0)), RealtimeRuntime: ptr(int64(0))},
			Pids:    &specs.LinuxPids{},
			BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(0)), LeafWeight: ptr(uint16(0))},
			Network: &specs.LinuxNetwork{ClassID: ptr(uint32(0))},
			Rdma:    map[string]specs.LinuxRdma{"mlx5_0": {}},
		}, []string{}, []string{}},
		{"memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(100)), Reservation: ptr(int64(50)), Swap: ptr(int64(150))}},
			[]string{"memory memory.limit_in_bytes=100", "memory memory.soft_limit_in_bytes=50", "memory memory.memsw.limit_in_bytes=150"},
			[]string{"memory memory.max=100", "memory memory.low=50", "memory memory.swap.max=50"}},
		{"no swap", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(100)), Swap: ptr(int64(100))}},
			[]string{"memory memory.limit_in_bytes=100", "memory memory.memsw.limit_in_bytes=100"},
			[]string{"memory memory.max=100", "memory memory.swap.max=0?"}},
		{"unlimited swap", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(100)), Swap: ptr(int64(-1))}},
			[]string{"memory memory.limit_in_bytes=100", "memory memory.memsw.limit_in_bytes=-1?"},
			[]string{"memory memory.max=100", "memory memory.swap.max=max?"}},
		{"unlimited memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-1))}},
			[]string{"memory memory.limit_in_bytes=-1"},
			[]string{"memory memory.max=max", "memory memory.swap.max=max?"}},
		{"swap without memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(100))}}, nil, nil},
		{"swap below memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(100)), Swap: ptr(int64(99))}}, nil, nil},
		{"negative memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-2))}}, nil, nil},
		//lint:ignore SA1019 it is refused
		{"kernel memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Kernel: ptr(int64(1))}}, nil, nil},
		{"tcp memory", specs.LinuxResources{Memory: &specs.LinuxMemory{KernelTCP: ptr(int64(1))}}, []string{"memory memory.kmem.tcp.limit_in_bytes=1"}, nil},
		{"swappiness", specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(0))}}, []string{"memory memory.swappiness=0"}, nil},
		{"no OOM killer", specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(true)}}, []string{"memory memory.oom_control=1"}, nil},
		{"hierarchy", specs.LinuxResources{Memory: &specs.LinuxMemory{UseHierarchy: ptr(true), CheckBeforeUpdate: ptr(true)}}, []string{"memory memory.use_hierarchy=1"}, []string{}},
		{"no hierarchy", specs.LinuxResources{Memory: &specs.LinuxMemory{UseHierarchy: ptr(false)}}, []string{"memory memory.use_hierarchy=0"}, nil},

		{"cpu", specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(5000)), Period: ptr(uint64(10000)), Burst: ptr(uint64(7)), Idle: ptr(int64(1)), Cpus: "0-1", Mems: "0"}},
			[]string{"cpu cpu.shares=1024", "cpu cpu.cfs_period_us=10000", "cpu cpu.cfs_quota_us=5000", "cpu cpu.cfs_burst_us=7", "cpu cpu.idle=1", "cpuset cpuset.cpus=0-1", "cpuset cpuset.mems=0"},
			[]string{"cpu cpu.weight=100", "cpu cpu.max=5000 10000", "cpu cpu.max.burst=7", "cpu cpu.idle=1", "cpuset cpuset.cpus=0-1", "cpuset cpuset.mems=0"}},
		{"quota alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(5000))}}, []string{"cpu cpu.cfs_quota_us=5000"}, []string{"cpu cpu.max=5000 100000"}},
		{"period alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Period: ptr(uint64(5000))}}, []string{"cpu cpu.cfs_period_us=5000"}, []string{"cpu cpu.max=max 5000"}},
		{"unlimited quota", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(-1)), Period: ptr(uint64(5000))}},
			[]string{"cpu cpu.cfs_period_us=5000", "cpu cpu.cfs_quota_us=-1"}, []string{"cpu cpu.max=max 5000"}},
		{"negative quota", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(-7))}}, nil, nil},
		{"too few shares", specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(1))}}, nil, nil},
		{"too many shares", specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(262145))}}, nil, nil},
		{"realtime", specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimePeriod: ptr(uint64(9)), RealtimeRuntime: ptr(int64(8))}},
			[]string{"cpu cpu.rt_period_us=9", "cpu cpu.rt_runtime_us=8"}, nil},

		{"pids", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(5))}}, []string{"pids pids.max=5"}, []string{"pids pids.max=5"}},
		{"pids unlimited", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}, []string{"pids pids.max=max"}, []string{"pids pids.max=max"}},
		{"pids none", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(0))}}, []string{"pids pids.max=1"}, []string{"pids pids.max=1"}},

		{"block io", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
			Weight: ptr(uint16(1000)), WeightDevice: []specs.LinuxWeightDevice{weighed},
			ThrottleReadBpsDevice: throttle(8, 0, 1), ThrottleWriteBpsDevice: throttle(8, 0, 2),
			ThrottleReadIOPSDevice: throttle(8, 0, 3), ThrottleWriteIOPSDevice: throttle(8, 0, 4),
		}}, []string{
			"blkio blkio.weight=1000|blkio.bfq.weight=1000", "blkio blkio.weight_device=8:16 500|blkio.bfq.weight_device=8:16 500",
			"blkio blkio.throttle.read_bps_device=8:0 1", "blkio blkio.throttle.write_bps_device=8:0 2",
			"blkio blkio.throttle.read_iops_device=8:0 3", "blkio blkio.throttle.write_iops_device=8:0 4",
		}, []string{
			"io io.bfq.weight=1000|io.weight=10000", "io io.bfq.weight=8:16 500",
			"io io.max=8:0 rbps=1", "io io.max=8:0 wbps=2", "io io.max=8:0 riops=3", "io io.max=8:0 wiops=4",
		}},
		{"weight out of range", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(9))}}, nil, nil},
		{"leaf weight", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{LeafWeight: ptr(uint16(10))}}, []string{"blkio blkio.leaf_weight=10"}, nil},

		{"huge pages", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 5}}},
			[]string{"hugetlb hugetlb.2MB.limit_in_bytes=5", "hugetlb hugetlb.2MB.rsvd.limit_in_bytes=5?"},
			[]string{"hugetlb hugetlb.2MB.max=5", "hugetlb hugetlb.2MB.rsvd.max=5?"}},
		{"huge pages of no size", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "../x"}}}, nil, nil},
		{"network", specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(9)), Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 3}}}},
			[]string{"net_cls net_cls.classid=9", "net_prio net_prio.ifpriomap=eth0 3"}, nil},
		{"rdma", specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"b": {HcaObjects: ptr(uint32(2))}, "a": {HcaHandles: ptr(uint32(1)), HcaObjects: ptr(uint32(3))}}},
			[]string{"rdma rdma.max=a hca_handle=1 hca_object=3", "rdma rdma.max=b hca_object=2"},
			[]string{"rdma rdma.max=a hca_handle=1 hca_object=3", "rdma rdma.max=b hca_object=2"}},
		{"unified", specs.LinuxResources{Unified: map[string]string{"memory.high": "5", "hugetlb.2MB.max": "0"}}, nil, []string{"hugetlb hugetlb.2MB.max=0", "memory memory.high=5"}},
		{"unified: processes", specs.LinuxResources{Unified: map[string]string{"cgroup.procs": "1"}}, nil, nil},
		{"unified: elsewhere", specs.LinuxResources{Unified: map[string]string{"../memory.max": "1"}}, nil, nil},
	} {
		for i, want := range [][]string{test.v1, test.v2} {
			got, err := plan(&test.res, i == 1)
			name := fmt.Sprintf("%s on v%d", test.name, i+1)
			if want == nil {
				if e, ok := errors.AsType[*control.Error](err); !ok || e.Class != control.InvalidArgument || !strings.HasPrefix(e.Message, "linux.resources.") {
					t.Errorf("%s: %v, %v; want a refusal", name, lines(got), err)
				}
				continue
			}
			if err != nil || !slices.Equal(lines(got), want) {
				t.Errorf("%s: %q, %v\nwant %q", name, lines(got), err, want)
			}
		}
	}
}

func TestPaths(t *testing.T) {
	for in, want := range map[string]string{
		"/default/app":                   "/default/app",
		"default//app/":                  "/default/app",
		"/kubepods/burstable/podx/./abc": "/kubepods/burstable/podx/abc",
		"/a:b":                           "/a:b",
		"kubepods-burstable-pod1.slice:cri-containerd:abc": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-abc.scope",
		":p:n":                                  "/system.slice/p-n.scope",
		"-.slice:p:n":                           "/p-n.scope",
		"a.slice:p:n":                           "/a.slice/p-n.scope",
		"/x/cpu.slice":                          "/x/cpu.slice",
		"":                                      "",
		"/":                                     "",
		"/.":                                    "",
		"..":                                    "",
		"/a/../../b":                            "",
		"/a/..":                                 "",
		"/a\n/b":                                "",
		"/a\x00b":                               "",
		"/sys/fs/cgroup/memory":                 "",
		"/a/cgroup.procs":                       "",
		"/a/tasks":                              "",
		"/a/memory.max":                         "",
		"a--b.slice:p:n":                        "",
		"-a.slice:p:n":                          "",
		"a-.slice:p:n":                          "",
		".slice:p:n":                            "",
		"a:p:n":                                 "",
		"a.slice:p:":                            "",
		"a.slice::n":                            "",
		"a.slice:p:n m":                         "",
		"a.slice:p:n.slice":                     "",
		"/" + strings.Repeat("a", 256):          "",
		"a.slice:p:" + strings.Repeat("a", 250): "",
		"/" + strings.Repeat("a/", 2100):        "",
		strings.Repeat("a", 251) + ".slice" + ":p:n": "",
	} {
		got, err := parsePath(in)
		if want == "" {
			if e, ok := errors.AsType[*control.Error](err); !ok || e.Class != control.InvalidArgument || !strings.HasPrefix(e.Message, "linux.cgroupsPath ") {
				t.Errorf("%q: %v, %v; want a refusal", in, got, err)
			}
		} else if err != nil || got.path != want {
			t.Errorf("%q: %q, %v; want %q", in, got.path, err, want)
		}
	}
}

func TestHostOf(t *testing.T) {
	read := func(text string) (*host, error) {
		m, err := mountinfo.GetMountsFromReader(strings.NewReader(text), mountinfo.FSTypeFilter("cgroup", "cgroup2"))
		if err != nil {
			t.Fatal(err)
		}
		return hostOf(m)
	}
	h, err := read(`25 24 0:21 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
26 25 0:22 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
27 25 0:23 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
28 25 0:24 / /var/lib/x/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
29 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
30 25 0:25 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
31 25 0:25 / /var/lib/x/memory rw,nosuid - cgroup cgroup rw,memory
32 25 0:26 / /sys/fs/cgroup/pids rw,nosuid - cgroup cgroup rw,pids
33 1 8:1 / / rw - ext4 /dev/sda1 rw
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/systemd"}
	if got := h.mounts(); h.unified() || !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if dir, ok := h.dir("cpuacct", "/a/b"); !ok || dir != "/sys/fs/cgroup/cpu,cpuacct/a/b" {
		t.Errorf("cpuacct: %s, %v", dir, ok)
	}
	if _, ok := h.dir("rw", "/a"); ok {
		t.Error("a mount option is taken for a controller")
	}
	if h, err = read("26 25 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"); err != nil || !h.unified() || h.v2 != "/sys/fs/cgroup" {
		t.Errorf("v2: %v, %v", h, err)
	}
	if h, err = read("33 1 8:1 / / rw - ext4 /dev/sda1 rw\n"); err == nil {
		t.Errorf("without any: %v", h)
	}
}

// A cgroup file system is a directory with the files of the controllers that
// exist: good enough to see what is refused, and how.
func TestMissingControllersAreNamed(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{"cgroup.controllers": "cpu pids\n", "cpu.weight": "", "io.weight": ""} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v2 := &host{v2: dir}
	for _, test := range []struct {
		res  specs.LinuxResources
		want string // "" when it is applied
	}{
		{specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(2))}}, ""},
		{specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(10))}}, ""}, // no BFQ
		{specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(1))}}, `linux.resources.memory.limit needs the cgroup controller "memory"`},
		{specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(-1))}}, ""},
		{specs.LinuxResources{CPU: &specs.LinuxCPU{Burst: ptr(uint64(2))}}, "linux.resources.cpu.burst needs the control file cpu.max.burst"},
		{specs.LinuxResources{Unified: map[string]string{"misc.max": "1"}}, `linux.resources.unified["misc.max"] needs the cgroup controller "misc"`},
	} {
		settings, err := plan(&test.res, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range settings {
			if err = v2.apply("/", s); err != nil {
				break
			}
		}
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
	v1 := &host{v1: map[string]string{"cpu": dir}}
	settings, _ := plan(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(1))}}, false)
	if err := v1.check(settings); err == nil || !strings.HasPrefix(err.Error(), `linux.resources.pids.limit needs the cgroup controller "pids"`) {
		t.Errorf("%v", err)
	}
	if err := v1.checkDevices(deviceRules{}); err == nil || !strings.HasPrefix(err.Error(), "linux.resources.devices ") {
		t.Errorf("%v", err)
	}
	if err := v1.checkDevices(deviceRules{allow: true}); err != nil {
		t.Errorf("unrestricted: %v", err)
	}
}

func TestScopeProperties(t *testing.T) {
	target, err := parsePath("kubepods-besteffort.slice:cri-containerd:abc")
	if err != nil {
		t.Fatal(err)
	}
	res := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(100))},
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(1234)), Period: ptr(uint64(10000))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(5))},
	}
	for v2, want := range map[bool]map[string]any{
		false: {"MemoryLimit": uint64(100), "CPUShares": uint64(1024)},
		true:  {"MemoryMax": uint64(100), "CPUWeight": uint64(100)},
	} {
		want["Slice"], want["Delegate"], want["TasksMax"] = "kubepods-besteffort.slice", true, uint64(5)
		want["CPUQuotaPerSecUSec"] = uint64(130_000) // 123.4 ms, in steps of 10
		for _, p := range scopeProperties(target, res, 7, v2) {
			if w, ok := want[p.Name]; ok && p.Value.Value() != w {
				t.Errorf("%s is %v, want %v", p.Name, p.Value, w)
			}
			delete(want, p.Name)
		}
		if len(want) != 0 {
			t.Errorf("v2 %v: missing %v", v2, want)
		}
	}
}
