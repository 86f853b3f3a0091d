package runner

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

func TestDescribeGroupsImportsByTheirProvider(t *testing.T) {
	m := &wasmtest.Module{}
	i32 := func(n int) []byte { return slices.Repeat([]byte{wasmtest.I32}, n) }
	one := []byte{wasmtest.I32}
	m.ImportFunc("wasi_snapshot_preview1", "fd_write", m.Type(i32(4), one))
	m.ImportFunc("wasi_snapshot_preview1", "sock_recv_from", m.Type(i32(7), one))
	m.ImportFunc("wasi_snapshot_preview1", "sock_recv_from", m.Type(i32(8), one))
	m.ImportFunc("rb-js-abi-host", "bad\x1bname", m.Type(nil, nil))
	m.ImportFunc("wasi_snapshot_preview1", "fd_read", m.Type(i32(3), one))
	m.Memory(2, 10)
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil)))
	d, err := Describe(m.Bytes(), "app.wasm", "")
	wantParts(t, err.Error(), "imports wasi_snapshot_preview1.fd_read as (i32, i32, i32) -> (i32), but")
	var got []string
	for _, g := range d.Imports {
		got = append(got, g.Provider+": "+strings.Join(g.Names.Names, " "))
	}
	if want := []string{
		`: rb-js-abi-host.bad\u{1b}name wasi_snapshot_preview1.fd_read`,
		"WASI preview 1: wasi_snapshot_preview1.fd_write",
		"WasmEdge sockets V1: wasi_snapshot_preview1.sock_recv_from",
		"WasmEdge sockets V2: wasi_snapshot_preview1.sock_recv_from",
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if d.Entry != "_start" || d.Exports.Count != 1 || *d.Memory != (Limits{2 * pageSize, 10 * pageSize}) || d.Tables != nil {
		t.Errorf("%+v", d)
	}
}

// A description says no more and no less than what would keep a guest from being
// loaded, but for what the compiler finds.
func TestDescribeRefusesWhatIsNotLoaded(t *testing.T) {
	for i, b := range [][]byte{nil, []byte("#!"), wasmtest.Exit(0), wasmtest.Exit(0)[:20], wasmtest.ComponentHeader, wasmtest.Header, everything()} {
		for _, export := range []string{"", "absent"} {
			p, want := load(t.Context(), bytes.Clone(b), &oci.Workload{Module: "app.wasm", Export: export}, options{})
			if want == nil {
				p.close(t.Context())
			}
			_, err := Describe(b, "app.wasm", export)
			if (want == nil) != (err == nil) || err != nil && err.Error() != want.Error() {
				t.Errorf("%d: %v, but it is loaded with %v", i, err, want)
			}
		}
	}
}

func TestDescribeListsABoundedNumberOfNames(t *testing.T) {
	m := &wasmtest.Module{}
	fn := m.Func(m.Type(nil, nil))
	for range maxDescribed + 5 {
		m.Export("e", wasmtest.KindFunc, fn)
	}
	d, _ := Describe(m.Bytes(), "app.wasm", "e")
	if d.Exports.Count != maxDescribed+5 || len(d.Exports.Names) != maxDescribed {
		t.Errorf("%d of %d", len(d.Exports.Names), d.Exports.Count)
	}
}

func TestLinesOfTheSourceAreForSmallModules(t *testing.T) {
	for size, want := range map[int]bool{100: true, maxLines - 100: true, maxLines + 100: false} {
		m := &wasmtest.Module{}
		m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), slices.Repeat([]byte{0x01}, size)))
		m.Custom(".debug_line", nil)
		d, err := Describe(m.Bytes(), "app.wasm", "")
		if err != nil || d.DebugLines != want {
			t.Errorf("code of %d bytes: lines %v, %v", size, d.DebugLines, err)
		}
	}
}
