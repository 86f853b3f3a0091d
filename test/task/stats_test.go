package task

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/test/usage"
)

// work is a guest that grows its memory by that many MiB, writes into every page,
// prints a line, and then spins.
func work(mib int32) []byte {
	const i32Store, localGet, localSet, brIf, loop, end, i32LtU, block = 0x36, 0x20, 0x21, 0x0d, 0x03, 0x0b, 0x49, 0x40
	var m wasmtest.Module
	write := m.ImportFunc("wasi_snapshot_preview1", "fd_write",
		m.Type([]byte{wasmtest.I32, wasmtest.I32, wasmtest.I32, wasmtest.I32}, []byte{wasmtest.I32}))
	var code []byte
	add := func(parts ...[]byte) {
		for _, p := range parts {
			code = append(code, p...)
		}
	}
	add(wasmtest.I32Const(mib*16), wasmtest.MemoryGrow, wasmtest.Drop)
	// local0 = 65536; do { mem[local0] = 1; local0 += 4096 } while (local0 < end)
	add(wasmtest.I32Const(65536), []byte{localSet, 0, loop, block, localGet, 0}, wasmtest.I32Const(1), []byte{i32Store, 2, 0})
	add([]byte{localGet, 0}, wasmtest.I32Const(4096), wasmtest.I32Add, []byte{localSet, 0})
	add([]byte{localGet, 0}, wasmtest.I32Const(65536+mib<<20), []byte{i32LtU, brIf, 0, end})
	add(wasmtest.Write(write, 1), wasmtest.Drop, wasmtest.Loop())
	m.Memory(1)
	m.Data(16, wasmtest.Iovec(32, 6))
	m.Data(32, []byte("ready\n"))
	m.Export("_start", wasmtest.KindFunc, m.FuncWithLocals(m.Type(nil, nil), []byte{1, 1, wasmtest.I32}, code))
	m.Export("memory", wasmtest.KindMemory, 0)
	return m.Bytes()
}

// startAndAwaitOutput creates and starts a container and returns its pid when the
// guest has written something.
func (s *shim) startAndAwaitOutput(id string) uint32 {
	s.d.t.Helper()
	path := filepath.Join(s.d.dir, id, "stdout")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		s.d.t.Fatal(err)
	}
	out, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		s.d.t.Fatal(err)
	}
	defer out.Close()
	resp, err := s.Create(context.Background(), &taskapi.CreateTaskRequest{ID: id, Bundle: filepath.Join(s.d.dir, id), Stdout: path})
	if err != nil {
		s.d.t.Fatal(err)
	}
	s.mustStart(id)
	if err := out.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		s.d.t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		s.d.t.Fatalf("output of the guest: %v", err)
	}
	return resp.Pid
}

func (s *shim) stats(id string) usage.Usage {
	s.d.t.Helper()
	resp, err := s.Stats(context.Background(), &taskapi.StatsRequest{ID: id})
	if err != nil {
		s.d.t.Fatal(err)
	}
	v, err := typeurl.UnmarshalAny(resp.Stats)
	if err != nil {
		s.d.t.Fatal(err)
	}
	return usage.OfMetrics(s.d.t, v)
}

// settled returns the metrics and what the kernel's files said before and after
// them alike.
func (s *shim) settled(id string, f usage.Files) (metrics, kernel usage.Usage) {
	s.d.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		before := f.Usage()
		metrics = s.stats(id)
		if kernel = f.Usage(); kernel == before {
			return metrics, kernel
		}
		if time.Now().After(deadline) {
			s.d.t.Fatalf("a paused container changes: %+v, then %+v", before, kernel)
		}
	}
}

func TestStatsAreTheKernelsNumbers(t *testing.T) {
	ctx := context.Background()
	const used, limit, pidsLimit, fileSize = 32 << 20, 128 << 20, 77, 4 << 20
	d := newDaemon(t)
	hugetlb := usage.HasHugetlb()
	d.bundle("a", work(used>>20), func(s *specs.Spec) {
		memory, quota, period, pids := int64(limit), int64(20_000), uint64(50_000), int64(pidsLimit)
		s.Linux.Resources = &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &memory, Swap: &memory},
			CPU:    &specs.LinuxCPU{Quota: &quota, Period: &period},
			Pids:   &specs.LinuxPids{Limit: &pids},
		}
		if hugetlb {
			s.Linux.Resources.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 6 << 20}}
		}
	})
	onDisk := coldFile(t, filepath.Join(d.dir, "a", "rootfs", "file"), fileSize)
	s := d.start("a")
	pid := s.startAndAwaitOutput("a")
	for _, id := range []string{"e1", "e2"} {
		if _, err := s.Exec(ctx, s.execRequest(id, "sleep", "600")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if status, out := s.exec("cat", "cat", "/file"); status != 0 || len(out) != fileSize {
		t.Errorf("cat: exit status %d, %d bytes", status, len(out))
	}
	f := usage.Files{T: t, Path: d.cgroup() + "/a"}
	for deadline := time.Now().Add(time.Minute); f.Usage().Throttled == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a guest that spins was never throttled: %+v", f.Usage())
		}
	}
	if _, err := s.Pause(ctx, &taskapi.PauseRequest{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	metrics, kernel := s.settled("a", f)
	if metrics != kernel {
		t.Errorf("Stats says\n%+v, the kernel's files\n%+v", metrics, kernel)
	}

	// And the kernel's numbers are those of what the container did.
	if m := metrics; m.MemoryLimit != limit || m.Memory > limit || m.Anonymous < used || m.WorkingSet() < used || m.WorkingSet() > m.Memory {
		t.Errorf("memory of a guest that uses %d of %d bytes: %+v", used, limit, m)
	}
	if m := metrics; m.PidsLimit != pidsLimit || m.Pids != s.threads("a") {
		t.Errorf("pids: %+v; there are %d threads", m, s.threads("a"))
	}
	if guest := processTime(t, pid); metrics.CPU < guest || guest == 0 {
		t.Errorf("the container used the processor for %d ns, its guest alone for %d", metrics.CPU, guest)
	}
	if m := metrics; m.Periods < m.Throttled {
		t.Errorf("throttled in %d of %d periods", m.Throttled, m.Periods)
	}
	// v1 counts only where something is throttled (Linux 6.10).
	if onDisk && usage.Unified() && metrics.Read < fileSize {
		t.Errorf("%d bytes were read from the disk, the file alone has %d", metrics.Read, fileSize)
	}
	if onDisk && metrics.InactiveFile < fileSize {
		t.Errorf("%d bytes of inactive pages of usage.Files, the file that was read has %d", metrics.InactiveFile, fileSize)
	}
	if hugetlb && !strings.Contains(metrics.Hugetlb, usage.HugePages("2MB", 0, 6<<20)) {
		t.Errorf("huge pages: %q", metrics.Hugetlb)
	}
	if metrics.OOMKills != 0 {
		t.Errorf("%d OOM kills", metrics.OOMKills)
	}
	if _, err := s.Resume(ctx, &taskapi.ResumeRequest{ID: "a"}); err != nil {
		t.Fatal(err)
	}
}

// coldFile makes a file that is on no page of the memory. It says whether it is
// on a disk, such that reading it is input of a block device.
func coldFile(t *testing.T, path string, size int) (onDisk bool) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return unix.Major(st.Dev) != 0
}

// threads counts those of all processes of a container.
func (s *shim) threads(id string) (n uint64) {
	s.d.t.Helper()
	resp, err := s.Pids(context.Background(), &taskapi.PidsRequest{ID: id})
	if err != nil {
		s.d.t.Fatal(err)
	}
	for _, p := range resp.Processes {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.Pid))
		if err != nil {
			s.d.t.Fatal(err)
		}
		n += uint64(len(tasks))
	}
	return n
}

// processTime returns the processor time of a process in nanoseconds, rounded
// down to the clock's ticks.
func processTime(t *testing.T, pid uint32) uint64 {
	t.Helper()
	user, system, _ := strings.Cut(cpuTime(t, pid), "+")
	u, err1 := strconv.ParseUint(user, 10, 64)
	s, err2 := strconv.ParseUint(system, 10, 64)
	if err1 != nil || err2 != nil || u > math.MaxUint32 {
		t.Fatal(err1, err2)
	}
	return (u + s) * uint64(10*time.Millisecond) // USER_HZ is 100 everywhere
}

func TestStatsOfAnOOMKill(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", eat(), memoryLimit(32<<20))
	s := d.start("a")
	s.mustCreate("a")
	s.mustStart("a")
	if status := s.wait("a"); status != 137 {
		t.Errorf("exit status %d, want 137", status)
	}
	f := usage.Files{T: t, Path: d.cgroup() + "/a"}
	metrics, kernel := s.settled("a", f)
	if metrics != kernel || metrics.OOMKills != 1 {
		t.Errorf("Stats says\n%+v, the kernel's files\n%+v", metrics, kernel)
	}
	if _, err := s.delete("a"); err != nil {
		t.Error(err)
	}
	if _, err := s.Stats(context.Background(), &taskapi.StatsRequest{ID: "a"}); err == nil {
		t.Error("a deleted container has metrics")
	}
}

// memoryLimit limits memory, and memory with swap, to that many bytes.
func memoryLimit(bytes int64) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &bytes, Swap: &bytes}}
	}
}
