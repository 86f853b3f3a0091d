package runner

import (
	"bytes"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/wasi"
)

// imports is a module being written that calls functions of WASI, each of i32
// parameters and one i32 result.
type imports struct{ wasmtest.Module }

func (m *imports) function(name string, params int) uint32 {
	return m.ImportFunc(wasi.Preview1, name, m.Type(bytes.Repeat([]byte{wasmtest.I32}, params), []byte{wasmtest.I32}))
}

func call(fn uint32, params ...int32) []byte {
	var code []byte
	for _, p := range params {
		code = append(code, wasmtest.I32Const(p)...)
	}
	return append(code, wasmtest.Call(fn)...)
}

// TestBothFormsOfAFunctionInOneModule has what a Rust guest has that uses
// WasmEdge's sockets and its standard library's: one name with two types.
func TestBothFormsOfAFunctionInOneModule(t *testing.T) {
	m := &imports{}
	older, newer := m.function("sock_accept", 2), m.function("sock_accept", 3)
	peer4, peer3 := m.function("sock_getpeeraddr", 4), m.function("sock_getpeeraddr", 3)
	local4, local3 := m.function("sock_getlocaladdr", 4), m.function("sock_getlocaladdr", 3)
	from7, from8 := m.function("sock_recv_from", 7), m.function("sock_recv_from", 8)
	exit := m.ImportFunc(wasi.Preview1, "proc_exit", m.Type([]byte{wasmtest.I32}, nil))
	// An address of four bytes at 64. Descriptor 1 is no socket, 40 is not open.
	code := slices.Concat(
		call(older, 1, 0), call(newer, 1, 0, 0), wasmtest.I32Add, // 57 each
		call(peer4, 40, 64, 0, 0), wasmtest.I32Add, call(peer3, 40, 64, 0), wasmtest.I32Add, // 8 each
		call(local4, 40, 64, 0, 0), wasmtest.I32Add, call(local3, 40, 64, 0), wasmtest.I32Add,
		call(from7, 40, 0, 0, 64, 0, 0, 0), wasmtest.I32Add, call(from8, 40, 0, 0, 64, 0, 0, 0, 0), wasmtest.I32Add,
		wasmtest.Call(exit))
	m.Memory(1)
	m.Data(64, wasmtest.Iovec(128, 4))
	m.Export("memory", wasmtest.KindMemory, 0)
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), code))
	if _, err := Describe(m.Bytes(), "app.wasm", ""); err != nil {
		t.Error(err)
	}
	if code, _, stderr := runGuest(t, m.Bytes(), oci.Workload{}); code != 2*57+6*8 {
		t.Errorf("exit code %d, want %d; stderr %q", code, 2*57+6*8, stderr)
	}
	// Compiled code of such a module is found again.
	cache := t.TempDir()
	if err := compileInDir(t, m.Bytes(), cache); err != nil {
		t.Fatal(err)
	}
	before := entries(t, cache)
	p, err := startGuest(t, m.Bytes(), oci.Workload{}, nil, cache)
	if err != nil {
		t.Fatal(err)
	}
	if code := p.release(); code != 2*57+6*8 || len(before) != 1 || !slices.Equal(before, entries(t, cache)) {
		t.Errorf("with compiled code: exit code %d; entries %v, then %v", code, before, entries(t, cache))
	}
}

// TestGuestsThatWaitEndOnSignals holds a guest in each host function that waits.
func TestGuestsThatWaitEndOnSignals(t *testing.T) {
	const stream, datagram = 2, 1
	for name, body := range map[string]func(m *imports) []byte{
		"accept": func(m *imports) []byte {
			open, listen, accept := m.function("sock_open", 3), m.function("sock_listen", 2), m.function("sock_accept", 3)
			return slices.Concat(call(open, 1, stream, 0), wasmtest.Drop, call(listen, 3, 1), wasmtest.Drop, call(accept, 3, 0, 0))
		},
		"recv": func(m *imports) []byte {
			open, recv := m.function("sock_open", 3), m.function("sock_recv", 6)
			return slices.Concat(call(open, 1, datagram, 0), wasmtest.Drop, call(recv, 3, 16, 1, 0, 8, 12))
		},
		"poll": func(m *imports) []byte {
			open, poll := m.function("sock_open", 3), m.function("poll_oneoff", 4)
			return slices.Concat(call(open, 1, datagram, 0), wasmtest.Drop, call(poll, 256, 512, 1, 0))
		},
		"sleep": func(m *imports) []byte {
			poll := m.function("poll_oneoff", 4)
			return call(poll, 320, 512, 1, 0)
		},
	} {
		m := &imports{}
		code := body(m)
		m.Memory(1)
		m.Data(16, wasmtest.Iovec(1024, 16))
		m.Data(256, []byte{8: 1, 16: 3})           // Reading from descriptor 3.
		m.Data(320, []byte{8: 0, 16: 1, 31: 0x10}) // A clock, in 36 years.
		m.Export("memory", wasmtest.KindMemory, 0)
		m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), code, wasmtest.Drop))
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			p, err := startGuest(t, m.Bytes(), oci.Workload{}, nil, "")
			if err != nil {
				t.Fatal(err)
			}
			if err := control.SendStart(p.shim); err != nil {
				t.Fatal(err)
			}
			_, _ = p.shim.Read(make([]byte, 1)) // Until the guest is about to run.
			time.Sleep(20 * time.Millisecond)   // It may end too early, not too late.
			if err := p.cmd.Process.Signal(s); err != nil {
				t.Fatalf("%s: it is not there any more: %v", name, err)
			}
			begin := time.Now()
			code := p.wait()
			status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
			if s == syscall.SIGTERM && code != 143 || s == syscall.SIGKILL && status.Signal() != s || time.Since(begin) > 5*time.Second {
				t.Errorf("%s on %v: exit code %d, status %#x after %v", name, s, code, status, time.Since(begin))
			}
		}
	}
}

func TestExitFromANestedCallRunsNothingAfter(t *testing.T) {
	m := &wasmtest.Module{}
	exit := m.ImportFunc(wasi.Preview1, "proc_exit", m.Type([]byte{wasmtest.I32}, nil))
	void := m.Type(nil, nil)
	inner := m.Func(void, wasmtest.I32Const(9), wasmtest.Call(exit), wasmtest.Unreachable)
	outer := m.Func(void, wasmtest.Call(inner), wasmtest.I32Const(1), wasmtest.Call(exit))
	m.Export("_start", wasmtest.KindFunc, m.Func(void, wasmtest.Call(outer), wasmtest.Unreachable))
	if code, _, stderr := runGuest(t, m.Bytes(), oci.Workload{}); code != 9 || stderr != "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

// TestGuestWithoutAMemory calls what needs one.
func TestGuestWithoutAMemory(t *testing.T) {
	m := &imports{}
	write := m.function("fd_write", 4)
	exit := m.ImportFunc(wasi.Preview1, "proc_exit", m.Type([]byte{wasmtest.I32}, nil))
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), call(write, 1, 0, 1, 0), wasmtest.Call(exit)))
	if code, _, stderr := runGuest(t, m.Bytes(), oci.Workload{}); code != 21 || stderr != "" {
		t.Errorf("exit code %d, want EFAULT; stderr %q", code, stderr)
	}
}

func TestRaisedSignalsEndTheGuest(t *testing.T) {
	for raised, want := range map[int32]int{6: 134, 15: 143, 11: 139, 17: 0, 0: 0} {
		m := &imports{}
		raise := m.function("proc_raise", 1)
		m.Memory(1)
		m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), call(raise, raised), wasmtest.Drop))
		if code, _, stderr := runGuest(t, m.Bytes(), oci.Workload{}); code != want || stderr != "" {
			t.Errorf("signal %d: exit code %d, want %d; stderr %q", raised, code, want, stderr)
		}
	}
}
