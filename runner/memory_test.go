package runner

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

func TestLinearMemoryGrowsInPlaceAndZeroed(t *testing.T) {
	m, err := newLinearMemory(memoryInfo{min: 1, max: maxMemoryPages}, maxMemoryPages*pageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	first := m.Reallocate(pageSize)
	for i := range first {
		first[i] = 0xff
	}
	grown := m.Reallocate(3 * pageSize)
	if len(grown) != 3*pageSize || unsafe.SliceData(grown) != unsafe.SliceData(first) {
		t.Fatalf("growing moved the memory or gave %d bytes", len(grown))
	}
	if !bytes.Equal(grown[pageSize:], make([]byte, 2*pageSize)) {
		t.Error("new pages are not zero")
	}
	if grown[0] != 0xff {
		t.Error("growing lost the first page")
	}
}

func TestLinearMemoryEnforcesTheCap(t *testing.T) {
	for name, c := range map[string]struct {
		max   uint64
		limit uint64
	}{"module's maximum": {2, 1 << 30}, "limit": {maxMemoryPages, 2 * pageSize}} {
		m, err := newLinearMemory(memoryInfo{min: 1, max: c.max}, c.limit)
		if err != nil {
			t.Fatal(err)
		}
		if m.Reallocate(2*pageSize) == nil {
			t.Errorf("%s: cannot grow up to it", name)
		}
		if m.Reallocate(3*pageSize) != nil {
			t.Errorf("%s: grows beyond it", name)
		}
		m.Free()
		m.Free() // The runtime and the program may both free it.
	}
}

func TestLinearMemoryMayBeEmpty(t *testing.T) {
	for _, limits := range []memoryInfo{{0, 0}, {0, 1}} {
		m, err := newLinearMemory(limits, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if b := m.Reallocate(0); b == nil || len(b) != 0 {
			t.Errorf("limits %v: an empty memory is %v", limits, b)
		}
		m.Free()
	}
}

func TestMemoryGrowFailsAtTheCapAndTheGuestGoesOn(t *testing.T) {
	// Grows by two pages, then by one, exits with 100 times the first result (a
	// size) plus the second (-1 for a failure).
	m := &wasmtest.Module{}
	exit := m.ImportFunc("wasi_snapshot_preview1", "proc_exit", m.Type([]byte{wasmtest.I32}, nil))
	start := m.Func(m.Type(nil, nil),
		wasmtest.I32Const(2), wasmtest.MemoryGrow, wasmtest.I32Const(100), []byte{0x6c}, // i32.mul
		wasmtest.I32Const(1), wasmtest.MemoryGrow, wasmtest.I32Add, wasmtest.Call(exit))
	m.Memory(1)
	m.Export("_start", wasmtest.KindFunc, start)
	p, err := load(t.Context(), m.Bytes(), &oci.Workload{Module: "app.wasm", MemoryLimit: 3*pageSize + 1}, options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close(t.Context())
	if code := p.run(t.Context()); code != 100-1 {
		t.Errorf("exit code %d, want 99: the first growth from one page, the second refused", int32(code))
	}
}
