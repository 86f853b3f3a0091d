package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

func TestGuestExitsWithTheLowEightBitsOfItsCode(t *testing.T) {
	for given, want := range map[int32]int{0: 0, 7: 7, 255: 255, 256 + 3: 3, -1: 255} {
		if code, _, stderr := runGuest(t, wasmtest.Exit(given), oci.Workload{}); code != want || stderr != "" {
			t.Errorf("proc_exit(%d): exit code %d, stderr %q; want %d and nothing", given, code, stderr, want)
		}
	}
}

func TestGuestThatReturnsExitsWithZero(t *testing.T) {
	code, stdout, stderr := runGuest(t, wasmtest.Print("hello\n"), oci.Workload{})
	if code != 0 || stdout != "hello\n" || stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestGuestTrapPrintsReasonAndNamedStack(t *testing.T) {
	m := &wasmtest.Module{}
	void := m.Type(nil, nil)
	inner := m.Func(m.Type([]byte{wasmtest.I32}, nil), wasmtest.I32Const(1<<30), wasmtest.I32Load, wasmtest.Drop)
	start := m.Func(void, wasmtest.I32Const(1), wasmtest.Call(inner))
	m.Memory(1)
	m.Export("_start", wasmtest.KindFunc, start)
	m.FuncName(inner, "load_\x1b[31mconfig")
	m.FuncName(start, "main")

	code, _, stderr := runGuest(t, m.Bytes(), oci.Workload{Module: "app.wasm"})
	want := "app.wasm: trap: out of bounds memory access\n" +
		"    at load_\\u{1b}[31mconfig(i32)\n" +
		"    at main()\n"
	if code != ExitTrap || stderr != want {
		t.Errorf("exit code %d, stderr:\n%swant %d and:\n%s", code, stderr, ExitTrap, want)
	}
}

func TestGuestTrapReasons(t *testing.T) {
	void := func(m *wasmtest.Module) uint32 { return m.Type(nil, nil) }
	for want, build := range map[string]func(m *wasmtest.Module) uint32{
		"unreachable": func(m *wasmtest.Module) uint32 { return m.Func(void(m), wasmtest.Unreachable) },
		"integer divide by zero": func(m *wasmtest.Module) uint32 {
			return m.Func(void(m), wasmtest.I32Const(1), wasmtest.I32Const(0), wasmtest.I32DivS, wasmtest.Drop)
		},
		"stack overflow": func(m *wasmtest.Module) uint32 { return m.Func(void(m), wasmtest.Call(0)) },
	} {
		m := &wasmtest.Module{}
		m.Export("_start", wasmtest.KindFunc, build(m))
		code, _, stderr := runGuest(t, m.Bytes(), oci.Workload{})
		if code != ExitTrap || firstLine(stderr) != "app.wasm: trap: "+want {
			t.Errorf("exit code %d, first line %q; want %d and reason %q", code, firstLine(stderr), ExitTrap, want)
		}
	}
}

func TestGuestTrapInStartSectionIsATrap(t *testing.T) {
	m := &wasmtest.Module{}
	f := m.Func(m.Type(nil, nil), wasmtest.Unreachable)
	m.Start(f)
	m.Export("_start", wasmtest.KindFunc, f)
	code, _, stderr := runGuest(t, m.Bytes(), oci.Workload{})
	if code != ExitTrap || firstLine(stderr) != "app.wasm: trap: unreachable" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestGuestExitInStartSectionIsAnExit(t *testing.T) {
	m := &wasmtest.Module{}
	exit := m.ImportFunc("wasi_snapshot_preview1", "proc_exit", m.Type([]byte{wasmtest.I32}, nil))
	m.Start(m.Func(m.Type(nil, nil), wasmtest.I32Const(5), wasmtest.Call(exit)))
	m.Memory(1)
	m.Export("_start", wasmtest.KindFunc, 1)
	if code, _, stderr := runGuest(t, m.Bytes(), oci.Workload{}); code != 5 || stderr != "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

// exitOnce exports functions that exit with a code each, so that the exit code
// tells which one ran first.
func exitOnce(names ...string) *wasmtest.Module {
	m := &wasmtest.Module{}
	exit := m.ImportFunc("wasi_snapshot_preview1", "proc_exit", m.Type([]byte{wasmtest.I32}, nil))
	void := m.Type(nil, nil)
	m.Memory(1)
	for i, name := range names {
		m.Export(name, wasmtest.KindFunc, m.Func(void, wasmtest.I32Const(int32(i+1)), wasmtest.Call(exit)))
	}
	return m
}

func TestGuestEntryPoints(t *testing.T) {
	for _, c := range []struct {
		exports []string
		export  string
		want    int
	}{
		{[]string{"_start", "serve"}, "", 1},
		{[]string{"_start", "serve"}, "_start", 1},
		{[]string{"_start", "serve"}, "serve", 2},
		{[]string{"_initialize", "serve"}, "serve", 1},
		{[]string{"_start", "_initialize"}, "", 1},
		{[]string{"_start", "_initialize"}, "_initialize", 2},
	} {
		code, _, _ := runGuest(t, exitOnce(c.exports...).Bytes(), oci.Workload{Export: c.export})
		if code != c.want {
			t.Errorf("exports %v, asked for %q: function %d ran first, want %d", c.exports, c.export, code, c.want)
		}
	}
}

func TestGuestSeesTheWorkloadsArguments(t *testing.T) {
	// Exits with 10*argc + environc.
	m := &wasmtest.Module{}
	sizes := m.Type([]byte{wasmtest.I32, wasmtest.I32}, []byte{wasmtest.I32})
	args := m.ImportFunc("wasi_snapshot_preview1", "args_sizes_get", sizes)
	env := m.ImportFunc("wasi_snapshot_preview1", "environ_sizes_get", sizes)
	exit := m.ImportFunc("wasi_snapshot_preview1", "proc_exit", m.Type([]byte{wasmtest.I32}, nil))
	code := [][]byte{
		wasmtest.I32Const(0), wasmtest.I32Const(4), wasmtest.Call(args), wasmtest.Drop,
		wasmtest.I32Const(8), wasmtest.I32Const(12), wasmtest.Call(env), wasmtest.Drop,
	}
	for range 10 {
		code = append(code, wasmtest.I32Const(0), wasmtest.I32Load)
	}
	code = append(code, wasmtest.I32Const(8), wasmtest.I32Load)
	for range 10 {
		code = append(code, wasmtest.I32Add)
	}
	start := m.Func(m.Type(nil, nil), append(code, wasmtest.Call(exit))...)
	m.Memory(1)
	m.Export("memory", wasmtest.KindMemory, 0)
	m.Export("_start", wasmtest.KindFunc, start)

	w := oci.Workload{Args: []string{"app", "", "x y"}, Env: []string{"A=1", "B="}}
	if code, _, stderr := runGuest(t, m.Bytes(), w); code != 32 {
		t.Errorf("exit code %d, want 32 for three arguments and two variables (and none of ours); stderr %q", code, stderr)
	}
}

func TestGuestEndsQuietlyWhenTheShimIsGone(t *testing.T) {
	p, err := startGuest(t, wasmtest.Print("ran"), oci.Workload{}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	_ = p.shim.Close()
	if code := p.wait(); code == 0 || p.stdout.Len()+p.stderr.Len() > 0 {
		t.Errorf("exit code %d, stdout %q, stderr %q; want a failure without a word", code, &p.stdout, &p.stderr)
	}
}

func TestGuestHoldsNothingInheritedButStdio(t *testing.T) {
	stdin, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := startGuest(t, readForever(), oci.Workload{}, stdin, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := control.SendStart(p.shim); err != nil {
		t.Fatal(err)
	}
	// The runner closes its end before the guest runs.
	if _, err := p.shim.Read(make([]byte, 1)); err == nil {
		t.Error("the socket delivers more than a report")
	}
	dir := "/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/fd"
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(dir, fd.Name()))
		// Go's own: its poller, and in a test binary what it reads CPU limits from.
		own := strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/sys/fs/cgroup/")
		if n, _ := strconv.Atoi(fd.Name()); err == nil && n > 2 && n <= control.CacheFD && !own {
			t.Errorf("descriptor %d is still %s", n, target)
		}
	}
}

func TestGuestLeavesADescriptorAloneThatIsNoCache(t *testing.T) {
	// Without a cache Go's poller may get its number.
	stdin, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, "guest", stdin, nil, memfd(t, []byte(`{"module":"app.wasm"}`)), memfd(t, readForever()), other)
	if err := control.Receive(p.shim); err != nil {
		t.Fatal(err)
	}
	if err := control.SendStart(p.shim); err != nil {
		t.Fatal(err)
	}
	_, _ = p.shim.Read(make([]byte, 1)) // Until everything is closed.
	if _, err := os.Readlink("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/fd/" + strconv.Itoa(control.CacheFD)); err != nil {
		t.Errorf("it was closed: %v", err)
	}
}

// readForever reads standard input until it ends.
func readForever() []byte {
	m := &wasmtest.Module{}
	read := m.ImportFunc("wasi_snapshot_preview1", "fd_read", m.Type([]byte{wasmtest.I32, wasmtest.I32, wasmtest.I32, wasmtest.I32}, []byte{wasmtest.I32}))
	start := m.Func(m.Type(nil, nil), wasmtest.Loop(wasmtest.Write(read, 0), wasmtest.Drop))
	m.Memory(1)
	m.Data(16, wasmtest.Iovec(64, 16))
	m.Export("memory", wasmtest.KindMemory, 0)
	m.Export("_start", wasmtest.KindFunc, start)
	return m.Bytes()
}

func TestGuestEndsOnSignals(t *testing.T) {
	spin := func() []byte {
		m := &wasmtest.Module{}
		m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), wasmtest.Loop()))
		return m.Bytes()
	}()
	stdin, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	for name, binary := range map[string][]byte{"spinning": spin, "blocked": readForever()} {
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
			p, err := startGuest(t, binary, oci.Workload{}, stdin, "")
			if err != nil {
				t.Fatal(err)
			}
			if err := control.SendStart(p.shim); err != nil {
				t.Fatal(err)
			}
			_, _ = p.shim.Read(make([]byte, 1)) // Until the guest is about to run.
			if err := p.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			if code := p.wait(); code != 128+int(s) {
				t.Errorf("a %s guest ends with %d on %v, want %d", name, code, s, 128+int(s))
			}
		}
	}
}

func TestGuestReportsWhatIsWrongBeforeItIsReady(t *testing.T) {
	for _, c := range []struct {
		name   string
		binary []byte
		w      oci.Workload
		class  control.Class
		parts  []string
	}{
		{"empty file", nil, oci.Workload{}, control.InvalidArgument, []string{"app.wasm is an empty file"}},
		{"missing import", func() []byte {
			m := &wasmtest.Module{}
			m.ImportFunc("wasix_32v1", "proc_fork", m.Type(nil, nil))
			return m.Bytes()
		}(), oci.Workload{}, control.InvalidArgument, []string{"app.wasm imports wasix_32v1.proc_fork", "WASIX"}},
		{"invalid code", func() []byte {
			m := &wasmtest.Module{}
			m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), wasmtest.I32Const(1)))
			return m.Bytes()
		}(), oci.Workload{}, control.InvalidArgument, []string{"app.wasm is not a valid WebAssembly module", "too many results have (i32) want ()"}},
		{"absent directory", wasmtest.Exit(0), oci.Workload{Preopens: []oci.Preopen{{Host: "/no/such/place", Guest: "/data"}}},
			control.NotFound, []string{"app.wasm: directory /no/such/place for the guest's /data", "no such file"}},
		{"bad environment", wasmtest.Exit(0), oci.Workload{Env: []string{"=x"}}, control.InvalidArgument, []string{`"=x"`}},
		{"NUL in an argument", wasmtest.Exit(0), oci.Workload{Args: []string{"a\x00b"}}, control.InvalidArgument, []string{"argument 0", "NUL"}},
	} {
		p, err := startGuest(t, c.binary, c.w, nil, "")
		e, ok := errors.AsType[*control.Error](err)
		if !ok || e.Class != c.class {
			t.Errorf("%s: report is %v, want class %s", c.name, err, c.class)
			continue
		}
		for _, part := range c.parts {
			if !strings.Contains(e.Message, part) {
				t.Errorf("%s: %q does not contain %q", c.name, e.Message, part)
			}
		}
		if code := p.wait(); code != 1 || p.stderr.Len() > 0 {
			t.Errorf("%s: exit code %d, stderr %q; want 1 and nothing", c.name, code, &p.stderr)
		}
	}
}
