package runner

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

const funcref = 0x70

// table is a table's encoding; without max it may grow for ever.
func table(minimum uint32, maximum ...uint32) []byte {
	b := append([]byte{funcref, byte(len(maximum))}, wasmtest.U32(minimum)...)
	for _, m := range maximum {
		b = append(b, wasmtest.U32(m)...)
	}
	return b
}

// growing is a command that grows each table in turn by so many elements and
// exits with how many of them let it.
func growing(by int32, tables ...[]byte) []byte {
	m := &wasmtest.Module{}
	exit := m.ImportFunc("wasi_snapshot_preview1", "proc_exit", m.Type([]byte{wasmtest.I32}, nil))
	m.Raw(4, slices.Concat(wasmtest.U32(uint32(len(tables))), slices.Concat(tables...)))
	code := wasmtest.I32Const(0)
	for i := range tables {
		grow := slices.Concat([]byte{0xd0, funcref}, wasmtest.I32Const(by), []byte{0xfc, 15}, wasmtest.U32(uint32(i)))
		code = slices.Concat(code, grow, wasmtest.I32Const(-1), []byte{0x47}, wasmtest.I32Add) // i32.ne
	}
	m.Memory(1)
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), code, wasmtest.Call(exit)))
	return m.Bytes()
}

func TestTablesGrowToTheLimitAndNotBeyond(t *testing.T) {
	for name, c := range map[string]struct {
		by     int32
		tables [][]byte
		grown  int
	}{
		"up to the limit":           {maxTableElements - 10, [][]byte{table(10)}, 1},
		"beyond":                    {maxTableElements - 9, [][]byte{table(10)}, 0},
		"far beyond":                {-1, [][]byte{table(0)}, 0},
		"beyond a high maximum":     {maxTableElements + 1, [][]byte{table(0, 1<<32-1)}, 0},
		"up to its own maximum":     {4, [][]byte{table(1, 5)}, 1},
		"beyond its own maximum":    {5, [][]byte{table(1, 5)}, 0},
		"many, within together":     {maxTableElements / 4, [][]byte{table(0), table(0), table(0), table(0)}, 4},
		"many, beyond together":     {maxTableElements/4 + 1, [][]byte{table(0), table(0), table(0), table(0)}, 0},
		"one of many with less":     {100, [][]byte{table(0), table(0, 3), table(0)}, 2},
		"the first is full already": {10, [][]byte{table(maxTableElements), table(0)}, 0},
	} {
		code, _, stderr := runGuest(t, growing(c.by, c.tables...), oci.Workload{})
		if code != c.grown {
			t.Errorf("%s: %d tables grew, want %d; %s", name, code, c.grown, stderr)
		}
	}
}

func TestTablesThatAreTooLargeAreRefused(t *testing.T) {
	for _, tables := range [][][]byte{{table(maxTableElements + 1)}, {table(maxTableElements), table(1)}, {table(1<<32 - 1), table(1<<32 - 1)}} {
		_, err := startGuest(t, growing(1, tables...), oci.Workload{}, nil, "")
		if err == nil || !strings.Contains(err.Error(), "declares tables of at least") {
			t.Errorf("%v: %v", tables, err)
		}
	}
}

// The engine sees to it, and boundTables relies on it.
func TestASecondTableSectionIsRefused(t *testing.T) {
	m := &wasmtest.Module{}
	m.Raw(4, append([]byte{1}, table(1, 1)...))
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil)))
	b := m.Bytes()
	section := slices.Concat([]byte{4, 4, 1}, table(1)) // without a maximum
	at := bytes.Index(b, []byte{4, 5, 1, funcref})
	_, err := startGuest(t, slices.Insert(b, at+7, section...), oci.Workload{}, nil, "")
	if err == nil || !strings.Contains(err.Error(), "invalid section order") {
		t.Errorf("%v", err)
	}
}

func TestBoundingMovesNothingThatHasRoom(t *testing.T) {
	padded := func(n, width int) []byte {
		b := binary.AppendUvarint(nil, uint64(n))
		for len(b) < width {
			b[len(b)-1] |= 0x80
			b = append(b, 0)
		}
		return b
	}
	module := func(width int) []byte {
		content := append([]byte{1}, table(300)...)
		m := &wasmtest.Module{}
		m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil)))
		b := m.Bytes()
		// Behind the sections of types and functions.
		at := bytes.IndexByte(b, 3)
		for b[at] != 3 || b[at+1] != 2 {
			at++
		}
		at += 4
		return slices.Concat(b[:at], []byte{4}, padded(len(content), width), content, b[at:])
	}
	for width, same := range map[int]bool{1: false, 2: false, 4: false, 5: true} {
		before := module(width)
		info, err := inspect(before, "app.wasm")
		if err != nil {
			t.Fatal(err)
		}
		after := boundTables(before, info)
		if got := len(after) == len(before) && &after[0] == &before[0]; got != same {
			t.Errorf("a size of %d bytes: in place is %v, want %v", width, got, same)
		}
		again, err := inspect(after, "app.wasm")
		if err != nil {
			t.Fatalf("a size of %d bytes: %v", width, err)
		}
		if got := again.tables.tables[0]; got.min != 300 || got.max != maxTableElements {
			t.Errorf("a size of %d bytes: %+v", width, got)
		}
		if code, _, stderr := runGuest(t, module(width), oci.Workload{}); code != 0 {
			t.Errorf("a size of %d bytes: exit code %d; %s", width, code, stderr)
		}
	}
}

func FuzzBoundTables(f *testing.F) {
	for _, tables := range [][][]byte{{table(1)}, {table(1, 1)}, {table(0), table(5, 1<<32-1)}, {table(maxTableElements)}} {
		f.Add(growing(1, tables...)[len(wasmtest.Header):])
	}
	f.Fuzz(func(t *testing.T, sections []byte) {
		b := append(slices.Clone(wasmtest.Header), sections...)
		info, err := inspect(b, "app.wasm")
		if err != nil {
			return
		}
		after := boundTables(b, info)
		again, err := inspect(after, "app.wasm")
		if err != nil {
			t.Fatalf("bounded it is refused: %v", err)
		}
		var sum uint64
		for i, table := range again.tables.tables {
			sum += min(table.max, 1<<32)
			if table.min != info.tables.tables[i].min || table.max > info.tables.tables[i].max {
				t.Errorf("table %d: %+v became %+v", i, info.tables.tables[i], table)
			}
		}
		if sum > maxTableElements && slices.ContainsFunc(again.tables.tables, func(t tableInfo) bool { return t.max > t.min }) {
			t.Errorf("tables may have %d elements", sum)
		}
		if len(again.funcs) != len(info.funcs) || len(again.exports) != len(info.exports) {
			t.Error("the rest changed")
		}
	})
}
