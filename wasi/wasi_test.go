package wasi

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

func TestProvidesWhatTheHostExports(t *testing.T) {
	r := wazero.NewRuntime(t.Context())
	defer func() { _ = r.Close(t.Context()) }()
	m, err := wasi_snapshot_preview1.NewBuilder(r).Compile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exported := m.ExportedFunctions()
	for name, f := range exported {
		got, ok := Provides(Preview1, name)
		want := Signature{Params: f.ParamTypes(), Results: f.ResultTypes()}
		if !ok || got.String() != want.String() {
			t.Errorf("%s: the table says %v (%v), the host has %v", name, got, ok, want)
		}
	}
	for name := range preview1 {
		if exported[name] == nil {
			t.Errorf("%s is in the table, but the host has no such function", name)
		}
	}
}

func TestProvidesNothingElse(t *testing.T) {
	for _, f := range [][2]string{{Preview1, "sock_open"}, {Env, "exit"}, {"wasi_unstable", "fd_write"}, {"", ""}} {
		if s, ok := Provides(f[0], f[1]); ok {
			t.Errorf("%s.%s is provided as %v", f[0], f[1], s)
		}
	}
}

func TestHostRefusesWhatNoGuestCanRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]Config{
		"argument 1 contains a NUL":         {Args: []string{"a", "b\x00"}},
		"entry \"A\" is not of the form":    {Env: []string{"A"}},
		"entry \"=a\" is not of the form":   {Env: []string{"=a"}},
		"entry \"A=\\x00\" is not of":       {Env: []string{"A=\x00"}},
		"directory " + file + " for the":    {Preopens: []Preopen{{Host: file, Guest: "/data"}}},
		"not a directory":                   {Preopens: []Preopen{{Host: file, Guest: "/data"}}},
		"/no/such/place for the guest's /x": {Preopens: []Preopen{{Host: "/no/such/place", Guest: "/x"}}},
	} {
		if _, err := NewHost(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
	_, err := NewHost(Config{Preopens: []Preopen{{Host: "/no/such/place", Guest: "/x"}}})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not wrap the system's error", err)
	}
}

// guest instantiates a module with its host.
func guest(t *testing.T, c Config, binary []byte) (api.Module, error) {
	t.Helper()
	ctx := t.Context()
	h, err := NewHost(c)
	if err != nil {
		t.Fatal(err)
	}
	r := wazero.NewRuntime(ctx)
	t.Cleanup(func() { _ = r.Close(ctx) })
	m, err := r.CompileModule(ctx, binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Instantiate(ctx, r, m); err != nil {
		t.Fatal(err)
	}
	return r.InstantiateModule(ctx, m, h.ModuleConfig())
}

func TestAssemblyScriptAbortPrintsAndExits(t *testing.T) {
	m := &wasmtest.Module{}
	i := wasmtest.I32
	abort := m.ImportFunc(Env, "abort", m.Type([]byte{i, i, i, i}, nil))
	m.Export("run", wasmtest.KindFunc, m.Func(m.Type(nil, nil),
		wasmtest.I32Const(104), wasmtest.I32Const(0x7fffffff), wasmtest.I32Const(7), wasmtest.I32Const(9),
		wasmtest.Call(abort)))
	m.Memory(1)
	m.Data(100, assemblyScript("bad wölf"))

	var stderr bytes.Buffer
	inst, err := guest(t, Config{Stderr: &stderr}, m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	_, err = inst.ExportedFunction("run").Call(t.Context())
	if exit, ok := errors.AsType[*sys.ExitError](err); !ok || exit.ExitCode() != 255 {
		t.Errorf("abort ends with %v, want exit code 255", err)
	}
	if want := "abort: bad wölf at :7:9\n"; stderr.String() != want {
		t.Errorf("abort prints %q, want %q", &stderr, want)
	}
}

func TestTheOtherFunctionsOfEnv(t *testing.T) {
	m := &wasmtest.Module{}
	i, f := wasmtest.I32, wasmtest.F64
	trace := m.ImportFunc(Env, "trace", m.Type([]byte{i, i, f, f, f, f, f}, nil))
	seed := m.ImportFunc(Env, "seed", m.Type(nil, []byte{f}))
	notify := m.ImportFunc(Env, "emscripten_notify_memory_growth", m.Type([]byte{i}, nil))
	code := [][]byte{wasmtest.I32Const(8), wasmtest.I32Const(1 << 20)}
	for range 5 {
		code = append(code, wasmtest.Call(seed))
	}
	code = append(code, wasmtest.Call(trace), wasmtest.I32Const(0), wasmtest.Call(notify))
	m.Export("run", wasmtest.KindFunc, m.Func(m.Type(nil, nil), code...))
	m.Memory(1)

	var stderr bytes.Buffer
	inst, err := guest(t, Config{Stderr: &stderr}, m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inst.ExportedFunction("run").Call(t.Context()); err != nil {
		t.Errorf("%v", err)
	}
	if got := stderr.String(); !strings.HasPrefix(got, "trace:  0.") || strings.Count(got, "0.") != 5 {
		t.Errorf("trace prints %q, want five seeds after an empty text", got)
	}
}

// assemblyScript lays a string out with its length in bytes before it.
func assemblyScript(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return append([]byte{byte(len(b)), 0, 0, 0}, b...)
}

func TestRandomFillsWhatItIsGiven(t *testing.T) {
	b := make([]byte, 1000)
	if n, err := (random{}).Read(b); n != len(b) || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if bytes.Equal(b[900:], make([]byte, 100)) {
		t.Error("the end is not random")
	}
}
