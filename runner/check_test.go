package runner

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// refusal loads a binary that must be refused and returns the sentence.
func refusal(t *testing.T, binary []byte, w oci.Workload, o options) string {
	t.Helper()
	if w.Module == "" {
		w.Module = "app.wasm"
	}
	p, err := load(t.Context(), binary, &w, o)
	if err == nil {
		p.close(t.Context())
		t.Error("accepted")
		return ""
	}
	e, ok := errors.AsType[*control.Error](err)
	if !ok || e.Class != control.InvalidArgument {
		t.Errorf("%v is not an invalid argument", err)
	}
	if strings.ContainsAny(err.Error(), "\n\x1b") || !strings.HasPrefix(err.Error(), w.Module) {
		t.Errorf("%q is not one sentence that begins with the module", err)
	}
	return err.Error()
}

func wantParts(t *testing.T, got string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(got, part) {
			t.Errorf("%q does not contain %q", got, part)
		}
	}
}

func TestWhatIsNotAModuleIsRefusedByName(t *testing.T) {
	for _, c := range []struct {
		name   string
		binary []byte
		want   string
	}{
		{"nothing", nil, "is an empty file"},
		{"half a magic number", []byte("\x00as"), "is truncated"},
		{"no version", []byte("\x00asm\x01"), "is truncated"},
		{"component", wasmtest.ComponentHeader, "is a WebAssembly component; this runtime runs core modules"},
		{"older component", []byte("\x00asm\x0a\x00\x01\x00"), "unknown version 10 and layer 1, perhaps a component"},
		{"future version", []byte("\x00asm\x02\x00\x00\x00"), "unknown version 2"},
		{"ELF", []byte("\x7fELF\x02\x01\x01"), "is a native Linux program"},
		{"script", []byte("#!/bin/sh\n"), "is a script"},
		{"text", []byte("\n (module)"), "is WebAssembly text"},
		{"bitcode", []byte("BC\xc0\xde...."), "is LLVM bitcode"},
		{"anything", []byte("hello, world"), `does not begin with \0asm`},
		{"half a section", slices.Concat(wasmtest.Header, []byte{1, 40, 0}), "it ends in the middle of a section; the file is truncated"},
		{"half a program", wasmtest.Exit(0)[:len(wasmtest.Exit(0))-3], "the file is truncated"},
		{"half a type", slices.Concat(wasmtest.Header, []byte{1, 2, 1, 0x60}), "section 1 is malformed: it ends early"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantParts(t, refusal(t, c.binary, oci.Workload{}, options{}), c.want)
		})
	}
}

func TestFeaturesThatAreOffAreRefusedByName(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(m *wasmtest.Module, void uint32)
		want  string
	}{
		{"memory64", func(m *wasmtest.Module, _ uint32) { m.MemoryLimits([]byte{4, 1}) }, featureMemory64},
		{"shared memory", func(m *wasmtest.Module, _ uint32) { m.MemoryLimits([]byte{3, 1, 2}) }, featureThreads},
		{"custom page size", func(m *wasmtest.Module, _ uint32) { m.MemoryLimits([]byte{8, 1, 0}) }, featurePageSizes},
		{"two memories", func(m *wasmtest.Module, _ uint32) { m.Memory(1); m.Memory(1) }, featureMultiMemory},
		{"struct type", func(m *wasmtest.Module, _ uint32) { m.Raw(1, []byte{1, 0x5f, 0}) }, featureGC},
		{"GC instruction", func(m *wasmtest.Module, void uint32) { m.Func(void, []byte{0xfb, 0}) }, featureGC},
		{"tag section", func(m *wasmtest.Module, _ uint32) { m.Raw(13, []byte{1, 0, 0}) }, featureExceptions},
		{"legacy try", func(m *wasmtest.Module, void uint32) { m.Func(void, []byte{0x06, 0x40, 0x19, 0x0b}) }, featureExceptions},
		{"try_table", func(m *wasmtest.Module, void uint32) { m.Func(void, []byte{0x1f, 0x40, 0, 0x0b}) }, featureExceptions},
		{"exnref", func(m *wasmtest.Module, _ uint32) { m.Type([]byte{0x69}, nil) }, featureExceptions},
		{"atomics", func(m *wasmtest.Module, void uint32) { m.Func(void, []byte{0xfe, 0x03, 0}) }, featureThreads},
		{"call_ref", func(m *wasmtest.Module, void uint32) { m.Func(void, []byte{0x14, 0}) }, featureFunctionReferences},
		{"ref type", func(m *wasmtest.Module, _ uint32) { m.Type([]byte{0x64, 0}, nil) }, featureFunctionReferences},
		{"relaxed SIMD", func(m *wasmtest.Module, void uint32) {
			m.Func(void, []byte{0x00, 0xfd, 0x8f, 0x02, 0x1a})
			m.Custom("target_features", []byte("\x01+\x0crelaxed-simd"))
		}, featureRelaxedSIMD},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &wasmtest.Module{}
			void := m.Type(nil, nil)
			m.Export("_start", wasmtest.KindFunc, m.Func(void))
			c.build(m, void)
			got := refusal(t, m.Bytes(), oci.Workload{}, options{})
			wantParts(t, got, "app.wasm uses "+c.want+", which this runtime does not support", wayOut[c.want])
		})
	}
}

func TestFeaturesThatAreOnRun(t *testing.T) {
	tail := &wasmtest.Module{}
	void := tail.Type(nil, nil)
	tail.Func(void)
	tail.Export("_start", wasmtest.KindFunc, tail.Func(void, []byte{0x12, 0})) // return_call 0

	extended := &wasmtest.Module{}
	extended.Export("_start", wasmtest.KindFunc, extended.Func(extended.Type(nil, nil)))
	extended.Raw(6, slices.Concat([]byte{1, wasmtest.I32, 0}, wasmtest.I32Const(1), wasmtest.I32Const(2), wasmtest.I32Add, []byte{0x0b}))

	for name, m := range map[string]*wasmtest.Module{"tail call": tail, "extended const": extended} {
		code, err := Run(t.Context(), m.Bytes(), &oci.Workload{Module: "app.wasm"}, Options{})
		if code != 0 || err != nil {
			t.Errorf("%s: exit code %d, error %v", name, code, err)
		}
	}
}

func TestTheEnginesOwnWordsAreKept(t *testing.T) {
	m := &wasmtest.Module{}
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), []byte{0x06, 0x40, 0x0b}))
	wantParts(t, refusal(t, m.Bytes(), oci.Workload{}, options{}), "invalid instruction 0x6")
}

func TestMissingImportsAreNamedWithAWayOut(t *testing.T) {
	for _, c := range []struct{ module, name, want string }{
		{"wasi_snapshot_preview1", "sock_close", "not one of the socket functions of WasmEdge"},
		{"wasi_snapshot_preview1", "fd_dup", "not part of WASI preview 1"},
		{"wasi_unstable", "fd_write", "preview 0"},
		{"wasix_32v1", "proc_fork", "WASIX"},
		{"wasi_ephemeral_nn", "load", "wasi-nn"},
		{"wasi_ephemeral_crypto_common", "options_open", "wasi-crypto"},
		{"rustls_client", "connect", "TLS plugin"},
		{"wasmedge_process", "wasmedge_process_run", "WasmEdge's plugins"},
		{"spin-http", "send", "Spin"},
		{"wasi-outbound-http", "request", "Spin"},
		{"wasi:io/streams@0.2.0", "read", "WASI 0.2 component"},
		{"wasi", "thread-spawn", "built with threads"},
		{"env", "emscripten_asm_const_int", "Emscripten"},
		{"env", "my_function", "missing at link time"},
		{"gojs", "runtime.wasmExit", "GOOS=wasip1"},
		{"wbg", "__wbg_log", "wasm-bindgen"},
		{"unheard-of", "x", "nothing but WASI preview 1 imports"},
	} {
		m := &wasmtest.Module{}
		m.ImportFunc(c.module, c.name, m.Type(nil, nil))
		wantParts(t, refusal(t, m.Bytes(), oci.Workload{}, options{}),
			"app.wasm imports "+c.module+"."+c.name+", which this runtime does not provide; ", c.want)
	}
}

func TestMissingImportsOtherThanFunctions(t *testing.T) {
	for _, c := range []struct {
		name string
		kind byte
		desc []byte
		want string
	}{
		{"memory", wasmtest.KindMemory, []byte{3, 1, 2}, "built with threads"},
		{"memory", wasmtest.KindMemory, []byte{0, 1}, "link it statically"},
		{"__stack_pointer", wasmtest.KindGlobal, []byte{wasmtest.I32, 1}, "link it statically"},
		{"__indirect_function_table", wasmtest.KindTable, []byte{0x70, 0, 0}, "link it statically"},
		{"abort", wasmtest.KindGlobal, []byte{wasmtest.I32, 0}, "which this runtime does not provide"},
	} {
		m := &wasmtest.Module{}
		m.Import("env", c.name, c.kind, c.desc)
		wantParts(t, refusal(t, m.Bytes(), oci.Workload{}, options{}), "app.wasm imports env."+c.name, c.want)
	}
}

func TestManyMissingImportsAreCounted(t *testing.T) {
	m := &wasmtest.Module{}
	void := m.Type(nil, nil)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "a"} {
		m.ImportFunc("x", name, void)
	}
	wantParts(t, refusal(t, m.Bytes(), oci.Workload{}, options{}), "imports x.a, x.b, x.c, x.d, x.e and 2 more, which")
}

func TestImportOfAnotherTypeIsRefused(t *testing.T) {
	m := &wasmtest.Module{}
	m.ImportFunc("wasi_snapshot_preview1", "fd_write", m.Type([]byte{wasmtest.I32}, []byte{wasmtest.I64}))
	wantParts(t, refusal(t, m.Bytes(), oci.Workload{}, options{}),
		"imports wasi_snapshot_preview1.fd_write as (i32) -> (i64), but this runtime provides it as (i32, i32, i32, i32) -> (i32)")

	// The form of WasmEdge before 0.10.
	m = &wasmtest.Module{}
	i := wasmtest.I32
	m.ImportFunc("wasi_snapshot_preview1", "sock_recv_from", m.Type([]byte{i, i, i, i, i, i}, []byte{i}))
	wantParts(t, refusal(t, m.Bytes(), oci.Workload{}, options{}), "WasmEdge before 0.10")
}

func TestEntryPointMustBeCallable(t *testing.T) {
	build := func() *wasmtest.Module {
		m := &wasmtest.Module{}
		void := m.Func(m.Type(nil, nil))
		adds := m.Func(m.Type([]byte{wasmtest.I32}, []byte{wasmtest.I32}), wasmtest.I32Const(0))
		m.Memory(1)
		m.Export("serve", wasmtest.KindFunc, void)
		m.Export("add", wasmtest.KindFunc, adds)
		m.Export("memory", wasmtest.KindMemory, 0)
		return m
	}
	for _, c := range []struct{ export, want string }{
		{"", "app.wasm has no function _start to start; functions that can be called are serve: name one as module.wasm#function"},
		{"absent", "app.wasm exports no function absent; functions that can be called are serve"},
		{"memory", "app.wasm exports memory as a memory, not as a function"},
		{"add", "app.wasm exports add as (i32) -> (i32), but only a function without parameters can be called"},
	} {
		wantParts(t, refusal(t, build().Bytes(), oci.Workload{Export: c.export}, options{}), c.want)
		if _, err := Describe(build().Bytes(), "app.wasm", c.export); err == nil {
			t.Errorf("Check accepts %q", c.export)
		}
	}
	library := &wasmtest.Module{}
	wantParts(t, refusal(t, library.Bytes(), oci.Workload{}, options{}), "build it as a command")
	if _, err := Describe(build().Bytes(), "app.wasm", "serve"); err != nil {
		t.Errorf("Check refuses what can be called: %v", err)
	}
}

func TestDeclaredMemoryAboveTheCapIsRefused(t *testing.T) {
	m := &wasmtest.Module{}
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil)))
	m.Memory(3 << 14)
	wantParts(t, refusal(t, m.Bytes(), oci.Workload{MemoryLimit: 1 << 30}, options{}),
		"declares a memory of at least 3 GiB, but the limit for one guest is 1 GiB")
}

func TestTooManyLocalsAreRefusedBeforeTheyAreAllocated(t *testing.T) {
	m := &wasmtest.Module{}
	locals := slices.Concat([]byte{1}, wasmtest.U32(1<<32-1), []byte{wasmtest.I64})
	m.Export("_start", wasmtest.KindFunc, m.FuncWithLocals(m.Type(nil, nil), locals))
	wantParts(t, refusal(t, m.Bytes(), oci.Workload{}, options{}), "more than 50000 locals")
}

func TestNamesFromABinaryCannotForgeAMessage(t *testing.T) {
	m := &wasmtest.Module{}
	m.ImportFunc("evil\nmodule\x1b[2J", strings.Repeat("x", 4096), m.Type(nil, nil))
	got := refusal(t, m.Bytes(), oci.Workload{}, options{})
	wantParts(t, got, `evil module\u{1b}[2J.xxx`, "…")
	if len(got) > 1000 {
		t.Errorf("the sentence has %d bytes", len(got))
	}
}

func TestAModuleMayCallItselfLikeItsHost(t *testing.T) {
	m := &wasmtest.Module{}
	exit := m.ImportFunc("wasi_snapshot_preview1", "proc_exit", m.Type([]byte{wasmtest.I32}, nil))
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), wasmtest.I32Const(4), wasmtest.Call(exit)))
	m.Names("wasi_snapshot_preview1")
	code, err := Run(t.Context(), m.Bytes(), &oci.Workload{Module: "app.wasm"}, Options{})
	if code != 4 || err != nil {
		t.Errorf("exit code %d, error %v", code, err)
	}
}
