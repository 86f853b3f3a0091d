package runner

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// active is a data segment with an encoded address.
func active(address []byte, b string) []byte {
	return slices.Concat([]byte{0}, address, []byte{0x0b}, wasmtest.U32(uint32(len(b))), []byte(b))
}

// prints is a command that prints the four bytes at 32, with its data section as
// it is given.
func prints(data []byte, before ...[]byte) *wasmtest.Module {
	m := &wasmtest.Module{}
	write := m.ImportFunc("wasi_snapshot_preview1", "fd_write", m.Type(slices.Repeat([]byte{wasmtest.I32}, 4), []byte{wasmtest.I32}))
	iovec := []byte{}
	for at, v := range map[int32]int32{16: 32, 20: 4} {
		iovec = slices.Concat(iovec, wasmtest.I32Const(at), wasmtest.I32Const(v), wasmtest.I32Store)
	}
	code := append(slices.Clone(before), iovec, wasmtest.Write(write, 1), wasmtest.Drop)
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), code...))
	m.Memory(1)
	m.Raw(11, data)
	return m
}

func TestDataIsWhereTheModuleWantsIt(t *testing.T) {
	at32 := wasmtest.I32Const(32)
	global := []byte{1, wasmtest.I32, 0, 0x41, 32, 0x0b} // one global, which is 32
	init := slices.Concat(at32, wasmtest.I32Const(0), wasmtest.I32Const(4), []byte{0xfc, 8, 0, 0})
	for _, tt := range []struct {
		name   string
		data   []byte
		change func(m *wasmtest.Module)
		before []byte
		plain  bool
		want   string
	}{
		{"one segment", slices.Concat([]byte{1}, active(at32, "abcd")), nil, nil, true, "abcd"},
		{"a later one covers an earlier", slices.Concat([]byte{2}, active(at32, "abcd"), active(wasmtest.I32Const(33), "xy")), nil, nil, true, "axyd"},
		{"up to the end", slices.Concat([]byte{2}, active(at32, "abcd"), active(wasmtest.I32Const(65532), "last")), nil, nil, true, "abcd"},
		{"with the index of the memory", slices.Concat([]byte{1, 2, 0}, at32, []byte{0x0b, 4}, []byte("abcd")), nil, nil, true, "abcd"},
		{"none", []byte{0}, nil, nil, true, "\x00\x00\x00\x00"},
		{"at a computed address", slices.Concat([]byte{1}, active(slices.Concat(wasmtest.I32Const(30), wasmtest.I32Const(2), wasmtest.I32Add), "abcd")), nil, nil, false, "abcd"},
		{"passive", []byte("\x01\x01\x04abcd"), func(m *wasmtest.Module) { m.Raw(12, []byte{1}) }, init, false, "abcd"},
		{"with a count of them", slices.Concat([]byte{1}, active(wasmtest.I32Const(40), "abcd")), func(m *wasmtest.Module) { m.Raw(12, []byte{1}) }, nil, false, "\x00\x00\x00\x00"},
		{"at a global", slices.Concat([]byte{1}, active([]byte{0x23, 0}, "abcd")), func(m *wasmtest.Module) { m.Raw(6, global) }, nil, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := prints(tt.data, tt.before)
			if tt.change != nil {
				tt.change(m)
			}
			m.Custom("other", []byte("x"))
			b := m.Bytes()
			info, err := inspect(b, "app.wasm")
			if err != nil || (info.data != nil) != tt.plain {
				t.Fatalf("the segments are kept: %v, want %v; %v", info.data != nil, tt.plain, err)
			}
			pruned := prune(bytes.Clone(b), info)
			if holds := bytes.Contains(pruned, []byte("abcd")); holds == tt.plain && tt.name != "none" || bytes.Contains(pruned, []byte("other")) {
				t.Errorf("what is compiled holds %q", pruned)
			}
			if tt.want == "" {
				return // of imported globals alone may an address come in WebAssembly 2.0
			}
			for _, cache := range []bool{false, true} {
				dir := ""
				if cache {
					dir = t.TempDir()
					if err := compileInDir(t, bytes.Clone(b), dir); err != nil {
						t.Fatal(err)
					}
				}
				p, err := startGuest(t, bytes.Clone(b), oci.Workload{}, nil, dir)
				if err != nil {
					t.Fatal(err)
				}
				if code := p.release(); code != 0 || p.stdout.String() != tt.want {
					t.Errorf("with a cache %v: exit code %d, printed %q, want %q", cache, code, p.stdout.String(), tt.want)
				}
			}
		})
	}
}

// It is the guest's failure, and no reason to refuse the module.
func TestDataOutsideOfTheMemoryIsATrap(t *testing.T) {
	code, _, stderr := runGuest(t, prints(slices.Concat([]byte{1}, active(wasmtest.I32Const(65533), "abcd"))).Bytes(), oci.Workload{})
	if code != ExitTrap || !strings.Contains(stderr, "out of bounds") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	code, _, _ = runGuest(t, prints(slices.Concat([]byte{1}, active(wasmtest.I32Const(-1), "abcd"))).Bytes(), oci.Workload{})
	if code != ExitTrap {
		t.Errorf("at a negative address: exit code %d", code)
	}
}

func TestMalformedDataIsRefused(t *testing.T) {
	one := slices.Concat([]byte{1}, active(wasmtest.I32Const(32), "abcd"))
	section := func(id byte, b []byte) []byte { return slices.Concat([]byte{id}, wasmtest.U32(uint32(len(b))), b) }
	good := prints(one).Bytes()
	early := slices.Concat(good[:8], section(11, one), good[8:])
	for name, b := range map[string][]byte{
		"bytes behind the segments":    prints(append(slices.Clone(one), 0)).Bytes(),
		"two sections":                 append(slices.Clone(good), section(11, one)...),
		"a section before the others":  early,
		"a section behind it":          append(slices.Clone(good), section(3, []byte{0})...),
		"an address of too many bits":  prints(slices.Concat([]byte{1}, active([]byte{0x41, 0xa0, 0x80, 0x80, 0x80, 0x10}, "abcd"))).Bytes(),
		"an address of too many bytes": prints(slices.Concat([]byte{1}, active([]byte{0x41, 0xa0, 0x80, 0x80, 0x80, 0x80, 0}, "abcd"))).Bytes(),
	} {
		refusal(t, b, oci.Workload{}, options{})
		if t.Failed() {
			t.Fatal(name)
		}
	}
}
