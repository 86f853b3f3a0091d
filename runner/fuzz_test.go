package runner

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// FuzzInspect holds of any bytes that inspecting them says nothing but one
// printable sentence, that the engine agrees with what is read of them, and that
// what passes cannot make the engine ask for much more memory than it is long.
func FuzzInspect(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(wasmtest.Header)
	f.Add(wasmtest.ComponentHeader)
	f.Add(wasmtest.Exit(1))
	f.Add(wasmtest.Print("hello"))
	f.Add(slices.Concat(wasmtest.Header, []byte{1, 2, 1, 0x60}))
	f.Add(everything())
	m := &wasmtest.Module{}
	m.Import("env", "memory", wasmtest.KindMemory, []byte{3, 1, 2})
	m.Custom("target_features", []byte("\x01+\x07atomics"))
	m.Custom(".debug_line", nil)
	f.Add(m.Bytes())
	for _, claim := range claims() {
		f.Add(claim)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			t.Skip("compiling takes long")
		}
		before := bytes.Clone(b)
		info, err := inspect(b, "app.wasm")
		if !bytes.Equal(b, before) {
			t.Error("inspecting changes the module")
		}
		if err != nil {
			fitForMessage(t, err)
			refusedByEngine(t, b)
			return
		}
		for _, export := range []string{"", "_initialize", "x"} {
			if _, err := checkEntry(info, "app.wasm", export); err != nil {
				fitForMessage(t, err)
			}
		}
		if err := checkMemory(info, "app.wasm", 1<<20); err != nil {
			fitForMessage(t, err)
		}
		linkVariants(info)
		linkedInPlace(t, before, b)
		b = boundTables(b, info)

		var start, end runtime.MemStats
		runtime.ReadMemStats(&start)
		r, c, err := compile(t.Context(), b, info, "app.wasm", nil)
		runtime.ReadMemStats(&end)
		if spent := end.TotalAlloc - start.TotalAlloc; spent > 64<<20+2000*uint64(len(b)) {
			t.Errorf("compiling %d bytes allocates %d MiB", len(b), spent>>20)
		}
		pruned, _, prunedErr := compile(t.Context(), prune(bytes.Clone(b), info), info, "app.wasm", nil)
		if (err == nil) != (prunedErr == nil) {
			t.Errorf("the engine says %v of the module, and %v of what is compiled", err, prunedErr)
		}
		if prunedErr == nil {
			defer pruned.Close(t.Context())
			bones, _, err := compile(t.Context(), skeleton(prune(bytes.Clone(b), info), info), info, "app.wasm", nil)
			if err != nil {
				t.Fatalf("the engine compiles the module, and says %v of its skeleton", err)
			}
			defer bones.Close(t.Context())
		}
		if err != nil {
			fitForMessage(t, refuseByEngine("app.wasm", info, err))
			return
		}
		defer r.Close(t.Context())
		agrees(t, info, c)
	})
}

func fitForMessage(t *testing.T, err error) {
	t.Helper()
	if s := err.Error(); !utf8.ValidString(s) || strings.ContainsAny(s, "\n\r\x1b") || len(s) > 4<<10 {
		t.Errorf("unfit for a message: %q", s)
	}
}

// refusedByEngine fails the test if a module that is called malformed is not.
func refusedByEngine(t *testing.T, b []byte) {
	t.Helper()
	if !bytes.HasPrefix(b, coreHeader) {
		return
	}
	_, err := readBinary(b)
	if _, ok := errors.AsType[unsupported](err); ok || err == nil {
		return
	}
	for _, reason := range []string{
		"claims", "locals", "more than", "ends early", "truncated", // the engine would take the memory first
		"unknown value type", // wazero 1.12 takes any type of an imported table
	} {
		if strings.Contains(err.Error(), reason) {
			return
		}
	}
	if r, _, engine := compile(t.Context(), b, &binaryInfo{}, "app.wasm", nil); engine == nil {
		r.Close(t.Context())
		t.Errorf("the engine takes what is refused: %v", err)
	}
}

// linkedInPlace fails the test if linking has made another module.
func linkedInPlace(t *testing.T, before, b []byte) {
	t.Helper()
	var changed int
	for i := range b {
		if b[i] != before[i] {
			changed++
			if b[i] != '$' {
				t.Errorf("byte %d became %#x", i, b[i])
			}
		}
	}
	again, err := inspect(b, "app.wasm")
	if err != nil {
		t.Fatalf("with %d bytes changed it is refused: %v", changed, err)
	}
	if len(again.badNames) > 0 {
		t.Error("a damaged name section is still one")
	}
}

// agrees fails the test if the engine has found anything else in the module.
func agrees(t *testing.T, info *binaryInfo, c wazero.CompiledModule) {
	t.Helper()
	exports := c.ExportedFunctions()
	for _, e := range info.exports {
		if e.kind != kindFunc {
			continue
		}
		def := exports[e.name]
		if def == nil {
			t.Errorf("the engine does not know the export %q", e.name)
			continue
		}
		delete(exports, e.name)
		sig, ok := info.signature(e.index)
		if !ok || !slices.Equal(sig.Params, def.ParamTypes()) || !slices.Equal(sig.Results, def.ResultTypes()) {
			t.Errorf("export %q is %v, but %v -> %v to the engine", e.name, sig, def.ParamTypes(), def.ResultTypes())
		}
	}
	if len(exports) > 0 {
		t.Errorf("exports that were not read: %v", exports)
	}
	isFunc := func(i importInfo) bool { return i.kind != kindFunc }
	if got, want := len(slices.DeleteFunc(slices.Clone(info.imports), isFunc)), len(c.ImportedFunctions()); got != want {
		t.Errorf("%d imported functions, and %d to the engine", got, want)
	}
	memories := c.ExportedMemories()
	for _, e := range info.exports {
		if e.kind == kindMemory && info.memory != nil && memories[e.name] != nil && uint64(memories[e.name].Min()) != info.memory.min {
			t.Errorf("a memory of %d pages, and of %d to the engine", info.memory.min, memories[e.name].Min())
		}
	}
}

// everything is a module with every section that the engine takes.
func everything() []byte {
	m := &wasmtest.Module{}
	recv := m.ImportFunc("wasi_snapshot_preview1", "sock_recv_from", m.Type(bytes.Repeat([]byte{api.ValueTypeI32}, 7), []byte{api.ValueTypeI32}))
	start := m.Func(m.Type(nil, nil))
	m.Memory(1, 2)
	m.Raw(4, []byte{1, 0x70, 0, 4})
	m.Raw(6, []byte{2, 0x7f, 1, 0x41, 1, 0x0b, 0x7b, 0, 0xfd, 12, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x0b})
	m.Raw(9, []byte{
		4,
		0, 0x41, 0, 0x0b, 1, 1,
		1, 0, 1, 1,
		5, 0x70, 2, 0xd2, 1, 0x0b, 0xd0, 0x70, 0x0b,
		3, 0, 0,
	})
	m.Raw(12, []byte{2})
	m.Raw(11, []byte{2, 0, 0x41, 0, 0x0b, 1, 'x', 1, 1, 'y'})
	m.Export("memory", wasmtest.KindMemory, 0)
	m.Export("_start", wasmtest.KindFunc, start)
	m.Names("everything")
	m.FuncName(recv, "recv")
	m.FuncName(start, "start")
	return m.Bytes()
}

// claims are modules with a vector that claims 2^27 elements.
func claims() map[string][]byte {
	many := wasmtest.U32(1 << 27)
	all := map[string][]byte{}
	add := func(name string, edit func(*wasmtest.Module)) {
		m := &wasmtest.Module{}
		m.Memory(1)
		m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil)))
		edit(m)
		all[name] = m.Bytes()
	}
	for name, section := range map[string]struct {
		id     byte
		before []byte
	}{
		"tables": {4, nil}, "globals": {6, nil}, "elements": {9, nil}, "data": {11, nil},
		"functions of an element":   {9, []byte{1, 1, 0}},
		"expressions of an element": {9, []byte{1, 5, 0x70}},
		"bytes of data":             {11, []byte{1, 1}},
	} {
		add(name, func(m *wasmtest.Module) { m.Raw(section.id, slices.Concat(section.before, many)) })
	}
	for name, content := range map[string][]byte{
		"a module's name": {0, 5}, "names of functions": {1, 5}, "functions with names": {2, 5}, "names of locals": {2, 7, 1, 0},
	} {
		add(name, func(m *wasmtest.Module) { m.Custom("name", slices.Concat(content, many)) })
	}
	return all
}

// The engine believes what a vector says of its own size.
func TestAModuleCannotClaimMemory(t *testing.T) {
	for name, b := range claims() {
		t.Run(name, func(t *testing.T) {
			var start, end runtime.MemStats
			runtime.ReadMemStats(&start)
			info, err := inspect(b, "app.wasm")
			if err == nil {
				linkVariants(info)
				var r wazero.Runtime
				if r, _, err = compile(t.Context(), b, info, "app.wasm", nil); err == nil {
					r.Close(t.Context())
				}
			}
			runtime.ReadMemStats(&end)
			if spent := end.TotalAlloc - start.TotalAlloc; spent > 16<<20 {
				t.Errorf("%d MiB for %d bytes", spent>>20, len(b))
			}
			if names := strings.Contains(name, "name"); names != (err == nil) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A damaged name section is no reason to refuse a module (core specification,
// appendix "Name Section"), and neither is a second one.
func TestDamagedNamesAreHiddenFromTheEngine(t *testing.T) {
	m := &wasmtest.Module{}
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil)))
	m.Custom("name", []byte{0, 2, 1, 0xff})
	m.Names("app")
	m.Custom("name", []byte{0, 2, 1, 'x'})
	b := m.Bytes()
	info, err := inspect(b, "app.wasm")
	if err != nil || len(info.badNames) != 2 {
		t.Fatalf("%d damaged sections, %v", len(info.badNames), err)
	}
	linkVariants(info)
	r, c, err := compile(t.Context(), b, info, "app.wasm", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	if c.Name() != "app" {
		t.Errorf("its name is %q", c.Name())
	}
}
