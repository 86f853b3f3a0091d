package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1/stats"
	stats2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// The guinea pig joins a cgroup as an init does: by its main thread, which alone is
// left when it executes something.
func init() {
	if os.Getenv("CGROUP_TEST_ROLE") == "join" {
		runtime.LockOSThread()
	}
}

// The test binary is its own guinea pig: it stays in the cgroup that it is put
// into and does one thing when its stdin is closed.
func TestMain(m *testing.M) {
	switch role := os.Getenv("CGROUP_TEST_ROLE"); role {
	case "":
		os.Exit(m.Run())
	default:
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(guinea(role))
	}
}

func guinea(role string) int {
	switch {
	case role == "eat": // 256 MiB, touched
		b, err := unix.Mmap(-1, 0, 256<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return 3
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return 0
	case role == "hold": // 16 MiB that cannot be reclaimed, until it is killed
		b, err := unix.Mmap(-1, 0, 16<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil || unix.Mlock(b) != nil {
			return 3
		}
		_ = unix.Pause()
		return 4
	case role == "fork": // until it is killed, and its children likewise
		for {
			cmd := exec.Command("/proc/self/exe")
			cmd.Stdin = nil
			cmd.Env = []string{"CGROUP_TEST_ROLE=fork"}
			_ = cmd.Start()
			time.Sleep(2 * time.Millisecond)
		}
	case role == "join": // by the descriptors from 4 on; 3 is closed with the execve
		unix.CloseOnExec(3)
		for fd := 4; ; fd++ {
			if _, err := unix.Write(fd, []byte("0")); err == unix.EBADF {
				break
			} else if err != nil {
				return int(err.(unix.Errno))
			}
			unix.Close(fd)
		}
		_ = syscall.Exec("/proc/self/exe", []string{"guinea"}, []string{"CGROUP_TEST_ROLE=stay"})
		return 4
	case role == "stay":
		for {
			_ = unix.Pause()
		}
	case strings.HasPrefix(role, "open "): // "open <flags> <device>": the errno
		var flags int
		var name string
		fmt.Sscanf(role, "open %d %s", &flags, &name)
		fd, err := unix.Open(name, flags|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			return int(err.(unix.Errno))
		}
		unix.Close(fd)
		return 0
	}
	return 4
}

// hosts returns the layouts that this machine can run: its own, and on a hybrid
// one also its v2 hierarchy by itself, as if it were a v2 host without limits.
func hosts(t *testing.T) map[string]*host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("cgroups are made by root")
	}
	h, err := discover()
	if err != nil {
		t.Skip(err)
	}
	all := map[string]*host{"native": h}
	if !h.unified() && h.v2 != "" {
		all["v2"] = &host{v2: h.v2}
	}
	return all
}

// limitedHost returns the layout of this machine when it has those controllers.
func limitedHost(t *testing.T, controllers ...string) *host {
	t.Helper()
	h := hosts(t)["native"]
	have := controllersOf(h.v2)
	for _, c := range controllers {
		if _, ok := h.v1[c]; !ok && !(h.unified() && slices.Contains(have, c)) {
			t.Skipf("no cgroup controller %s", c)
		}
	}
	return h
}

// v1Host returns the layout of this machine when it is v1 or hybrid.
func v1Host(t *testing.T, controllers ...string) *host {
	t.Helper()
	h := limitedHost(t, controllers...)
	if h.unified() {
		t.Skip("the controllers are those of cgroup v2")
	}
	return h
}

// testPath returns a path below a parent of this test alone, and fails the test
// when anything of it is left at its end.
func testPath(t *testing.T, h *host) string {
	t.Helper()
	parent := fmt.Sprintf("/shim-wasm-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	t.Cleanup(func() {
		for _, m := range h.mounts() {
			if _, err := os.Lstat(filepath.Join(m, parent)); err == nil {
				t.Errorf("%s%s is left behind", m, parent)
				_ = removeTree(filepath.Join(m, parent))
			}
		}
	})
	return parent + "/pod/app"
}

func mustCreate(t *testing.T, h *host, path string, res *specs.LinuxResources) *Cgroup {
	t.Helper()
	c, err := h.create(path, res)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Kill(); err != nil {
			t.Error(err)
		}
		if err := c.Delete(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// spawn starts the guinea pig in the cgroup; release lets it begin.
func spawn(t *testing.T, c *Cgroup, role string) (cmd *exec.Cmd, release func()) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = []string{"CGROUP_TEST_ROLE=" + role}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if err := c.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	return cmd, func() { in.Close() }
}

func TestProcessLivesInTheCgroupUntilItIsKilledAndDeleted(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			path := testPath(t, h)
			c := mustCreate(t, h, path, nil)
			cmd := exec.Command("sleep", "1000")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pid := cmd.Process.Pid
			if err := c.Add(pid); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(b), ":"+path+"\n"); n != len(h.mounts()) {
				t.Errorf("in %d of %d hierarchies:\n%s", n, len(h.mounts()), b)
			}
			if pids, err := c.Pids(); err != nil || !slices.Equal(pids, []int{pid}) {
				t.Errorf("Pids: %v, %v; want %d", pids, err, pid)
			}
			if err := c.Delete(); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("Delete with a process: %v", err)
			}

			other, err := h.load(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := other.Kill(); err != nil {
				t.Fatal(err)
			}
			if ws, err := cmd.Process.Wait(); err != nil || ws.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
				t.Errorf("sleep: %v, %v", ws, err)
			}
			for range 2 {
				if err := other.Delete(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := h.load(path); !errdefs.IsNotFound(err) {
				t.Errorf("Load after Delete: %v", err)
			}
			if _, err := c.Stat(); !errdefs.IsNotFound(err) {
				t.Errorf("Stat after Delete: %v", err)
			}
			if err := c.Add(os.Getpid()); !errdefs.IsNotFound(err) {
				t.Errorf("Add after Delete: %v", err)
			}
			if pids, err := c.Pids(); err != nil || len(pids) != 0 {
				t.Errorf("Pids after Delete: %v, %v", pids, err)
			}
			if err := c.Kill(); err != nil {
				t.Errorf("Kill after Delete: %v", err)
			}
		})
	}
}

// content reads a control file of a cgroup: "memory/memory.max" is that file on
// v2, and lies in the hierarchy of the controller on v1.
func content(t *testing.T, h *host, path, file string) string {
	t.Helper()
	controller, name, _ := strings.Cut(file, "/")
	dir, _ := h.dir(controller, path)
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestLimitsAreInTheFiles(t *testing.T) {
	h := limitedHost(t, "cpu", "cpuset", "memory", "pids")
	limit, swap, reservation := int64(64<<20), int64(80<<20), int64(32<<20)
	shares, quota, period, idle, pids := uint64(512), int64(20000), uint64(50000), int64(0), int64(33)
	res := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &limit, Swap: &swap, Reservation: &reservation},
		CPU:    &specs.LinuxCPU{Shares: &shares, Quota: &quota, Period: &period, Idle: &idle, Cpus: "0", Mems: "0"},
		Pids:   &specs.LinuxPids{Limit: &pids},
	}
	files := map[string]string{
		"memory/memory.max":      "67108864",
		"memory/memory.swap.max": "16777216",
		"memory/memory.low":      "33554432",
		"cpu/cpu.weight":         "59", // runc's curve through 1024 and 100
		"cpu/cpu.max":            "20000 50000",
		"cpuset/cpuset.cpus":     "0",
		"cpuset/cpuset.mems":     "0",
		"pids/pids.max":          "33",
	}
	if h.unified() {
		// The kernel keeps whole pages.
		res.Unified = map[string]string{"memory.high": "60000000"}
		files["memory/memory.high"] = "59998208"
	} else {
		res.Memory.Swappiness = ptr[uint64](7)
		files = map[string]string{
			"memory/memory.limit_in_bytes":       "67108864",
			"memory/memory.memsw.limit_in_bytes": "83886080",
			"memory/memory.soft_limit_in_bytes":  "33554432",
			"memory/memory.swappiness":           "7",
			"cpu/cpu.shares":                     "512",
			"cpu/cpu.cfs_quota_us":               "20000",
			"cpu/cpu.cfs_period_us":              "50000",
			"cpuset/cpuset.cpus":                 "0",
			"cpuset/cpuset.mems":                 "0",
			"pids/pids.max":                      "33",
		}
	}
	c := mustCreate(t, h, testPath(t, h), res)
	for file, want := range files {
		if got := content(t, h, c.Path(), file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	cmd, _ := spawn(t, c, "idle")
	v, err := c.Stat()
	if err != nil {
		t.Fatal(err)
	}
	switch m := v.(type) {
	case *stats.Metrics:
		if h.unified() || m.Memory.Usage.Limit != uint64(limit) || m.Pids.Limit != uint64(pids) || m.Pids.Current == 0 || m.CPU == nil {
			t.Errorf("metrics of %d: %v", cmd.Process.Pid, m)
		}
	case *stats2.Metrics:
		if !h.unified() || m.Memory.UsageLimit != uint64(limit) || m.Pids.Limit != uint64(pids) || m.Pids.Current == 0 || m.CPU == nil {
			t.Errorf("metrics of %d: %v", cmd.Process.Pid, m)
		}
	default:
		t.Errorf("Stat is a %T", v)
	}
}

func TestStatOfV2(t *testing.T) {
	h, ok := hosts(t)["v2"]
	if !ok {
		h = hosts(t)["native"]
	}
	if !h.unified() {
		t.Skip("no v2 hierarchy")
	}
	c := mustCreate(t, h, testPath(t, h), nil)
	v, err := c.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := v.(*stats2.Metrics); !ok {
		t.Errorf("Stat is a %T", v)
	}
}

func TestMemoryLimitKills(t *testing.T) {
	h := limitedHost(t, "memory")
	limit := int64(32 << 20)
	c := mustCreate(t, h, testPath(t, h), &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}})
	cmd, release := spawn(t, c, "eat")
	release()
	_ = cmd.Wait()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("ended with %v, not by the OOM killer", cmd.ProcessState)
	}
	v, err := c.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var kills uint64
	switch m := v.(type) {
	case *stats.Metrics:
		kills = m.MemoryOomControl.OomKill
	case *stats2.Metrics:
		kills = m.MemoryEvents.OomKill
	}
	if kills != 1 {
		t.Errorf("oom_kill is %d", kills)
	}
}

func TestRefusalLeavesNothing(t *testing.T) {
	h := limitedHost(t, "cpuset")
	c, err := h.create(testPath(t, h), &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}})
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Class != control.InvalidArgument || !strings.Contains(e.Message, "linux.resources.cpu.cpus") {
		t.Errorf("%v, %v", c, err)
	}
}
