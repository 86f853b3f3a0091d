package task

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/test/usage"
)

func TestOutOfMemoryOfAnExecIsAnEventBeforeItsExit(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), memoryLimit(64<<20))
	if err := os.WriteFile(filepath.Join(d.dir, "a", "rootfs", "eat.wasm"), eat(), 0o644); err != nil {
		t.Fatal(err)
	}
	s := d.start("a")
	s.mustCreate("a")
	s.mustStart("a")
	if status, out := s.exec("e", "/eat.wasm"); status != 137 {
		t.Errorf("exit status %d, output %q", status, out)
	}
	// The container goes on, and its end is not put down to that kill.
	if err := s.kill("a", unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := s.wait("a"); status != 143 {
		t.Errorf("exit status %d, want 143", status)
	}
	if _, err := s.delete("a"); err != nil {
		t.Error(err)
	}
	d.assertEvents("a", "create", "start", "added e", "started e", "oom", "exit e 137", "exit 143", "delete 143")
}

func TestAnExecThatDoesNotFitSaysSoAndIsAnEvent(t *testing.T) {
	ctx := context.Background()
	d := newDaemon(t)
	d.bundle("a", spin(), memoryLimit(48<<20))
	var m wasmtest.Module
	m.Memory(1024)
	m.Data(0, make([]byte, 64<<20))
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil)))
	m.Export("memory", wasmtest.KindMemory, 0)
	if err := os.WriteFile(filepath.Join(d.dir, "a", "rootfs", "big.wasm"), m.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	s := d.start("a")
	s.mustCreate("a")
	s.mustStart("a")
	if _, err := s.Exec(ctx, s.execRequest("e", "/big.wasm")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: "e"})
	if got := errgrpc.ToNative(err); !errdefs.IsResourceExhausted(got) || !strings.Contains(got.Error(), "/big.wasm ran out of the container's memory") {
		t.Errorf("got %v", got)
	}
	if err := s.kill("a", unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := s.wait("a"); status != 143 {
		t.Errorf("exit status %d, want 143", status)
	}
	if _, err := s.delete("a"); err != nil {
		t.Error(err)
	}
	d.assertEvents("a", "create", "start", "added e", "oom", "exit 143", "delete 143")
}

// The limit of a Pod is that of its cgroup, which is the parent of the container's.
func TestOutOfMemoryOfAPodIsAnEventOfTheContainer(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", eat(), nil)
	s := d.start("a")
	s.mustCreate("a")
	parent := filepath.Join(usage.Root, "memory", d.cgroup())
	names := []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
	if usage.Unified() {
		parent, names = filepath.Join(usage.Root, d.cgroup()), []string{"memory.max"}
	}
	for _, name := range names {
		// Without swap accounting there is no second one.
		if err := os.WriteFile(filepath.Join(parent, name), []byte("67108864"), 0); err != nil && name == names[0] {
			t.Fatal(err)
		}
	}
	s.mustStart("a")
	if status := s.wait("a"); status != 137 {
		t.Errorf("exit status %d, want 137", status)
	}
	if _, err := s.delete("a"); err != nil {
		t.Error(err)
	}
	d.assertEvents("a", "create", "start", "oom", "exit 137", "delete 137")
}

// large is a module that takes more memory to compile than to run.
func large() []byte {
	var m wasmtest.Module
	typ := m.Type(nil, nil)
	// x = x + x, many times over in each of many functions.
	const i32Add, localGet, localSet = 0x6a, 0x20, 0x21
	code := make([]byte, 0, 7*3000)
	for range 3000 {
		code = append(code, localGet, 0, localGet, 0, i32Add, localSet, 0)
	}
	for range 200 {
		m.FuncWithLocals(typ, []byte{1, 1, wasmtest.I32}, code)
	}
	m.Memory(1)
	m.Export("_start", wasmtest.KindFunc, m.Func(typ))
	m.Export("memory", wasmtest.KindMemory, 0)
	return m.Bytes()
}

func TestCompilingIsInsideTheLimitsOfTheContainer(t *testing.T) {
	d := newDaemon(t)
	d.bundle("keep", spin(), nil)
	s := d.start("keep")
	d.bundle("a", large(), memoryLimit(6<<20))
	_, err := s.create("a")
	got := errgrpc.ToNative(err)
	if !errdefs.IsResourceExhausted(got) || !strings.Contains(got.Error(), "/app.wasm ran out of the container's memory") ||
		!strings.Contains(got.Error(), "raise the memory limit") || strings.Contains(got.Error(), "\n") {
		t.Errorf("got %v", got)
	}
	d.assertNothingLeft()
	// The same module with more memory is no problem.
	d.bundle("b", large(), memoryLimit(1<<30))
	s.mustCreate("b")
	s.mustStart("b")
	if status := s.wait("b"); status != 0 {
		t.Errorf("exit status %d with more memory", status)
	}
	if _, err := s.delete("b"); err != nil {
		t.Error(err)
	}
}

func TestUpdateIsInTheKernelsFiles(t *testing.T) {
	d := newDaemon(t)
	devices := []specs.LinuxDeviceCgroup{{Access: "rwm"}, {Allow: true, Type: "c", Major: ptr[int64](1), Minor: ptr[int64](3), Access: "rwm"}}
	d.bundle("a", work(32), func(s *specs.Spec) {
		memoryLimit(128 << 20)(s)
		s.Linux.Resources.Devices = devices
		s.Linux.Resources.CPU = &specs.LinuxCPU{Quota: ptr[int64](50_000), Period: ptr[uint64](100_000), Shares: ptr[uint64](1024)}
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr[int64](100)}
	})
	s := d.start("a")
	s.startAndAwaitOutput("a")
	f := usage.Files{T: t, Path: d.cgroup() + "/a"}
	for _, step := range []struct {
		name      string
		res       specs.LinuxResources
		memory    string
		quota     string // v1's file; v2 has the period, too
		pids      string
		whyFailed string
	}{
		{name: "as it was created", memory: "134217728", quota: "50000", pids: "100"},
		{
			name:   "raise",
			res:    specs.LinuxResources{Memory: memory(256<<20, false), CPU: &specs.LinuxCPU{Quota: ptr[int64](80_000), Period: ptr[uint64](100_000)}, Pids: &specs.LinuxPids{Limit: ptr[int64](200)}},
			memory: "268435456", quota: "80000", pids: "200",
		},
		{name: "memory alone", res: specs.LinuxResources{Memory: memory(96<<20, false)}, memory: "100663296", quota: "80000", pids: "200"},
		{
			name:   "no more limits",
			res:    specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr[int64](-1), Period: ptr[uint64](100_000)}, Pids: &specs.LinuxPids{Limit: ptr[int64](-1)}},
			memory: "100663296", quota: "-1", pids: "max",
		},
		{
			name:      "below what is used",
			res:       specs.LinuxResources{Memory: memory(16<<20, true)},
			whyFailed: "linux.resources.memory.limit",
			memory:    "100663296", quota: "-1", pids: "max",
		},
		{
			name:   "with the devices of before, as kubelet resizes",
			res:    specs.LinuxResources{Memory: memory(112<<20, false), Devices: devices},
			memory: "117440512", quota: "-1", pids: "max",
		},
		{
			name:      "with other devices",
			res:       specs.LinuxResources{Memory: memory(96<<20, false), Devices: devices[:1]},
			whyFailed: "linux.resources.devices",
			memory:    "117440512", quota: "-1", pids: "max",
		},
	} {
		t.Run(step.name, func(t *testing.T) {
			b, err := json.Marshal(step.res)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Update(context.Background(), &taskapi.UpdateTaskRequest{ID: "a", Resources: &anypb.Any{Value: b}})
			if got := errgrpc.ToNative(err); step.whyFailed == "" && err != nil ||
				step.whyFailed != "" && (!errdefs.IsInvalidArgument(got) || !strings.Contains(got.Error(), step.whyFailed)) {
				t.Errorf("got %v", got)
			}
			quota := step.quota
			if usage.Unified() {
				quota = strings.Replace(quota, "-1", "max", 1) + " 100000"
			}
			for _, file := range []struct{ got, want string }{
				{f.Text("memory/memory.limit_in_bytes", "memory.max"), step.memory},
				{f.Text("cpu/cpu.cfs_quota_us", "cpu.max"), quota},
				{f.Text("pids/pids.max", "pids.max"), step.pids},
			} {
				if file.got != file.want {
					t.Errorf("the kernel's file says %q, want %q", file.got, file.want)
				}
			}
		})
	}
	if err := s.kill("a", 0); err != nil {
		t.Errorf("the guest suffered: %v", err)
	}
}

func memory(limit int64, check bool) *specs.LinuxMemory {
	return &specs.LinuxMemory{Limit: &limit, Swap: &limit, CheckBeforeUpdate: &check}
}

func ptr[T any](v T) *T { return &v }

func TestTheCgroupNamespaceBeginsAtTheContainer(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	})
	s := d.start("a")
	pid := s.mustCreate("a").Pid
	s.mustStart("a")
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(own), d.cgroup()+"/a\n") {
		t.Errorf("seen from outside: %q, %v", own, err)
	}
	status, out := s.exec("e", "cat", "/proc/1/cgroup")
	if status != 0 || out == "" {
		t.Errorf("exit status %d, output %q", status, out)
	}
	for line := range strings.Lines(out) {
		if !strings.HasSuffix(line, ":/\n") {
			t.Errorf("seen from inside: %q", line)
		}
	}
}

// Without systemd the form of its cgroup driver names the directory that it would
// use. The parents that were made for it go with it.
func TestThePathOfASystemdScopeWithoutSystemd(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		t.Skip("systemd runs here and makes the scope itself")
	}
	d := newDaemon(t)
	slice := fmt.Sprintf("wasmtest%d", os.Getpid())
	d.bundle("a", spin(), func(s *specs.Spec) {
		memoryLimit(64 << 20)(s)
		s.Linux.CgroupsPath = slice + "-pod.slice:cri-containerd:a"
	})
	s := d.start("a")
	pid := s.mustCreate("a").Pid
	f := usage.Files{T: t, Path: "/" + slice + ".slice/" + slice + "-pod.slice/cri-containerd-a.scope"}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); err != nil || !strings.Contains(string(b), f.Path+"\n") {
		t.Errorf("the process is in %q, %v; want %s", b, err, f.Path)
	}
	if got := f.Text("memory/memory.limit_in_bytes", "memory.max"); got != "67108864" {
		t.Errorf("the limit is %s", got)
	}
	if _, err := s.delete("a"); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{usage.Root, usage.Root + "/*"} {
		if left, err := filepath.Glob(pattern + "/" + slice + ".slice"); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}
