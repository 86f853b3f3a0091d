package wasi

import (
	"errors"
	"fmt"
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
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/resolver"
)

func TestProvidesWhatWazerosHostExports(t *testing.T) {
	r := wazero.NewRuntime(t.Context())
	defer func() { _ = r.Close(t.Context()) }()
	m, err := wasi_snapshot_preview1.NewBuilder(r).Compile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exported := m.ExportedFunctions()
	if len(exported) != 46 {
		t.Errorf("wazero has %d functions, preview 1 had 46", len(exported))
	}
	for name, f := range exported {
		got, ok := Provides(Preview1, name)
		want := Signature{Params: f.ParamTypes(), Results: f.ResultTypes()}
		if !ok || got.String() != want.String() {
			t.Errorf("%s: the table says %v (%v), wazero has %v", name, got, ok, want)
		}
	}
}

func TestProvidesNothingElse(t *testing.T) {
	for _, f := range [][2]string{{Preview1, "sock_close"}, {Env, "exit"}, {"wasi_unstable", "fd_write"}, {"", ""}} {
		if s, ok := Provides(f[0], f[1]); ok {
			t.Errorf("%s.%s is provided as %v", f[0], f[1], s)
		}
	}
}

func TestVariantsAreChosenByTheNumberOfParameters(t *testing.T) {
	for _, c := range []struct {
		name         string
		older, newer int
	}{{"sock_accept", 2, 3}, {"sock_recv_from", 7, 8}, {"sock_getlocaladdr", 4, 3}, {"sock_getpeeraddr", 4, 3}} {
		older := Variant(Preview1, c.name, c.older)
		if s, ok := Provides(Preview1, older); older == c.name || len(older) != len(c.name) || !ok || len(s.Params) != c.older {
			t.Errorf("%s of %d parameters is %s as %v", c.name, c.older, older, s)
		}
		newer := Variant(Preview1, c.name, c.newer)
		if s, ok := Provides(Preview1, newer); newer != c.name || !ok || len(s.Params) != c.newer {
			t.Errorf("%s of %d parameters is %s as %v", c.name, c.newer, newer, s)
		}
		if other := Variant(Preview1, c.name, 6); other != c.name {
			t.Errorf("%s of 6 parameters is %s", c.name, other)
		}
	}
	if got := Variant(Env, "sock_accept", 2); got != "sock_accept" {
		t.Errorf("in another module it is %s", got)
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

func TestOnlyWhatIsImportedIsRegistered(t *testing.T) {
	m := &wasmtest.Module{}
	i := wasmtest.I32
	for range 2 {
		m.ImportFunc(Preview1, "fd_close", m.Type([]byte{i}, []byte{i}))
	}
	r := wazero.NewRuntime(t.Context())
	defer func() { _ = r.Close(t.Context()) }()
	compiled, err := r.CompileModule(t.Context(), m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHost(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Instantiate(t.Context(), r, compiled); err != nil {
		t.Fatal(err)
	}
	if names := r.Module(Preview1).ExportedFunctionDefinitions(); len(names) != 1 || names["fd_close"] == nil {
		t.Errorf("registered are %v", names)
	}
	if r.Module(Env) != nil {
		t.Error("env is there")
	}
}

func TestListenersComeAfterThePreopens(t *testing.T) {
	// Returns the sum of what asking 4 for a preopen and accepting from it
	// return, after asking for its flags.
	m := &wasmtest.Module{}
	i := wasmtest.I32
	fdstat := m.ImportFunc(Preview1, "fd_fdstat_get", m.Type([]byte{i, i}, []byte{i}))
	prestat := m.ImportFunc(Preview1, "fd_prestat_get", m.Type([]byte{i, i}, []byte{i}))
	accept := m.ImportFunc(Preview1, "sock_accept", m.Type([]byte{i, i, i}, []byte{i}))
	code := [][]byte{wasmtest.I32Const(4), wasmtest.I32Const(64), wasmtest.Call(fdstat), wasmtest.Drop}
	code = append(code, wasmtest.I32Const(4), wasmtest.I32Const(96), wasmtest.Call(prestat),
		wasmtest.I32Const(4), wasmtest.I32Const(0), wasmtest.I32Const(96), wasmtest.Call(accept), wasmtest.I32Add)
	m.Export("run", wasmtest.KindFunc, m.Func(m.Type(nil, []byte{i}), code...))
	m.Memory(1)
	m.Export("memory", wasmtest.KindMemory, 0)
	inst, err := guest(t, Config{Stdin: -1, Stdout: -1, Stderr: -1, Preopens: []Preopen{{Host: t.TempDir(), Guest: "/"}}, Listeners: []string{"127.0.0.1:0"}}, m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	results, err := inst.ExportedFunction("run").Call(t.Context())
	// No preopen is EBADF, nobody who connects is EAGAIN.
	if err != nil || results[0] != 8+6 {
		t.Errorf("%v, %v", results, err)
	}
	if filetype, _ := inst.Memory().ReadByte(64); filetype != 6 {
		t.Errorf("descriptor 4 has type %d", filetype)
	}
	if flags, _ := inst.Memory().ReadByte(66); flags != 4 {
		t.Errorf("descriptor 4 has flags %d", flags)
	}

	h, err := NewHost(Config{Env: []string{"WASI_LISTEN_FD=9"}, Listeners: []string{"127.0.0.1:0", "[::]:0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if got := strings.Join(h.config.Env, " "); got != "WASI_LISTEN_FD=9 LISTEN_FDS=2" {
		t.Errorf("the environment is %q", got)
	}
	for address, want := range map[string]string{"8080": "not an address with a port", "192.0.2.1:1": "cannot assign"} {
		if _, err := NewHost(Config{Listeners: []string{address}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
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

	stderr := newOutput(t)
	inst, err := guest(t, Config{Stdin: -1, Stdout: -1, Stderr: int(stderr.Fd())}, m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	_, err = inst.ExportedFunction("run").Call(t.Context())
	if exit, ok := errors.AsType[*sys.ExitError](err); !ok || exit.ExitCode() != 255 {
		t.Errorf("abort ends with %v, want exit code 255", err)
	}
	if want := "abort: bad wölf at :7:9\n"; stderr.text() != want {
		t.Errorf("abort prints %q, want %q", stderr.text(), want)
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

	stderr := newOutput(t)
	inst, err := guest(t, Config{Stdin: -1, Stdout: -1, Stderr: int(stderr.Fd())}, m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inst.ExportedFunction("run").Call(t.Context()); err != nil {
		t.Errorf("%v", err)
	}
	if got := stderr.text(); !strings.HasPrefix(got, "trace:  0.") || strings.Count(got, "0.") != 5 {
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

// output is a file that a guest writes to.
type output struct {
	*os.File
	t *testing.T
}

func newOutput(t *testing.T) output {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return output{f, t}
}

func (o output) text() string {
	b, err := os.ReadFile(o.Name())
	if err != nil {
		o.t.Fatal(err)
	}
	return string(b)
}

func TestTheNameServerThatAGuestIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		conf string
		env  []string
		want string
	}{
		"a server":         {"search a.example\nnameserver 10.96.0.10\nnameserver 10.96.0.11\n", nil, "[DNS_SERVER=10.96.0.10:53]"},
		"one of IPv6":      {"nameserver fd00::a\nnameserver 10.96.0.10\n", nil, "[DNS_SERVER=10.96.0.10:53]"},
		"only IPv6":        {"nameserver fd00::a\n", nil, "names no IPv4 name server for DNS_SERVER"},
		"none":             {"search a.example\n", nil, "names no IPv4 name server for DNS_SERVER"},
		"rubbish":          {"nameserver 10.96.0.10:53\nnameserver \x00\n", nil, "names no IPv4 name server for DNS_SERVER"},
		"the guest's own":  {"nameserver 10.96.0.10\n", []string{"DNS_SERVER=10.0.0.1:5353"}, "[DNS_SERVER=10.0.0.1:5353]"},
		"own without ours": {"", []string{"DNS_SERVER="}, "[DNS_SERVER=]"},
	} {
		file := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(file, []byte(c.conf), 0o600); err != nil {
			t.Fatal(err)
		}
		env, err := withNameServer(c.env, resolver.Resolver{Conf: file, Port: 53})
		if got := fmt.Sprint(env, err); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if _, err := withNameServer(nil, resolver.Resolver{Conf: "/no/such", Port: 53}); err == nil {
		t.Error("there is a name server without a file")
	}
}
