package preview1

import (
	"encoding/binary"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
)

// guest calls host functions as a module would, with a real memory.
type guest struct {
	t   testing.TB
	h   *Host
	m   api.Module
	mem api.Memory
}

// newGuest has "/" as descriptor 3 when a directory is given. Its streams read
// as empty and discard.
func newGuest(t testing.TB, dir string) *guest {
	t.Helper()
	table := descriptor.NewTable(5000, 100)
	for range 3 {
		n, e := table.AddInherited(-1)
		if e != 0 {
			t.Fatal(e)
		}
		Grant(table.Get(n))
	}
	if dir != "" {
		tree, err := descriptor.OpenTree(dir, true, false)
		if err != nil {
			t.Fatal(err)
		}
		d, e := table.AddTree(tree, "/")
		if e != 0 {
			t.Fatal(e)
		}
		Grant(d)
		t.Cleanup(tree.Close)
	}
	t.Cleanup(table.CloseAll)
	b := &wasmtest.Module{}
	b.Memory(4)
	b.Export("memory", wasmtest.KindMemory, 0)
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { _ = r.Close(t.Context()) })
	m, err := r.Instantiate(t.Context(), b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{Args: []string{"app", "x"}, Environ: []string{"A=b"}}, table)
	if err != nil {
		t.Fatal(err)
	}
	return &guest{t: t, h: h, m: m, mem: m.Memory()}
}

// call calls a function. The upper halves of 32-bit parameters are garbage, as
// they are in compiled code.
func (g *guest) call(name string, params ...any) Errno {
	g.t.Helper()
	f, ok := g.h.Function(name)
	signature := Signature(name)
	if !ok || len(params) != len(signature)-2 {
		g.t.Fatalf("%s%v: its type is %s", name, params, signature)
	}
	stack := make([]uint64, max(len(params), 1))
	for i, p := range params {
		switch p := p.(type) {
		case int:
			stack[i] = uint64(p)
		case uint32:
			stack[i] = uint64(p)
		case uint64:
			stack[i] = p
		}
		if signature[i] == 'i' {
			stack[i] = stack[i]&0xffff_ffff | 0xdead_beef<<32
		}
	}
	f.Call(g.t.Context(), g.m, stack)
	return Errno(stack[0])
}

// want fails the test unless a call has that result.
func (g *guest) want(e Errno, name string, params ...any) {
	g.t.Helper()
	if got := g.call(name, params...); got != e {
		g.t.Fatalf("%s%v: %d, want %d", name, params, got, e)
	}
}

func (g *guest) ok(name string, params ...any) {
	g.t.Helper()
	g.want(success, name, params...)
}

func (g *guest) u32(at int) uint32 {
	v, _ := g.mem.ReadUint32Le(uint32(at))
	return v
}

func (g *guest) put(at int, values ...uint32) {
	for i, v := range values {
		g.mem.WriteUint32Le(uint32(at+4*i), v)
	}
}

func (g *guest) bytesAt(at, n int) []byte {
	b, _ := g.mem.Read(uint32(at), uint32(n))
	return b
}

func (g *guest) write(at int, s string) { g.mem.WriteString(uint32(at), s) }

// Where the tests keep things in the guest's memory.
const (
	atResult  = 1024
	atIovec   = 1100
	atAddress = 1200
	atStorage = 1300
	atOther   = 1500
	atPath    = 2000
	atSubs    = 3000
	atEvents  = 4000
	atData    = 0x10000
)

// iovec makes one vector over the data.
func (g *guest) iovec(size int) { g.put(atIovec, atData, uint32(size)) }

// open opens a path from descriptor 3 and returns the new one.
func (g *guest) open(name string, oflags, rights, fdflags int) int {
	g.t.Helper()
	g.write(atPath, name)
	g.ok("path_open", 3, 1, atPath, len(name), oflags, rights, 0, fdflags, atResult)
	return int(g.u32(atResult))
}

// sub writes a subscription; the event's userdata is its index and 100.
func (g *guest) sub(i int, tag byte, fd int) {
	b := g.bytesAt(atSubs+48*i, 48)
	clear(b)
	binary.LittleEndian.PutUint64(b, uint64(100+i))
	b[8] = tag
	binary.LittleEndian.PutUint32(b[16:], uint32(fd))
}

func (g *guest) subClock(i, id int, timeout int64, absolute bool) {
	g.sub(i, eventClock, id)
	b := g.bytesAt(atSubs+48*i, 48)
	binary.LittleEndian.PutUint64(b[24:], uint64(timeout))
	if absolute {
		b[40] = clockAbsolute
	}
}

// event is one event of a poll.
type event struct {
	userdata uint64
	e        Errno
	tag      byte
	nbytes   uint64
	flags    uint16
}

// poll polls the first n subscriptions.
func (g *guest) poll(n int) []event {
	g.t.Helper()
	g.ok("poll_oneoff", atSubs, atEvents, n, atResult)
	events := make([]event, g.u32(atResult))
	for i := range events {
		b := g.bytesAt(atEvents+32*i, 32)
		le := binary.LittleEndian
		events[i] = event{le.Uint64(b), Errno(le.Uint16(b[8:])), b[10], le.Uint64(b[16:]), le.Uint16(b[24:])}
	}
	return events
}
