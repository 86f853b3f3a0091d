package preview1

import (
	"bytes"
	"os"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
)

// briefGuest is a guest with a file in memory.
func briefGuest(t *testing.T, flags int) (g *guest, fd int, path string) {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "brief")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	g = newGuest(t, dir)
	if _, ok := g.mem.Grow(4); !ok {
		t.Fatal("the memory does not grow")
	}
	return g, g.open("file", openCreate, rightsFile, flags), dir + "/file"
}

func TestWhichCallsAreBrief(t *testing.T) {
	g, file, _ := briefGuest(t, 0)
	// In the upper half of a slot is garbage.
	const garbage = 0xdead_beef << 32
	slots := func(fd, count int) []uint64 {
		return []uint64{garbage | uint64(fd), garbage | atIovec, garbage | uint64(count), garbage | atResult}
	}
	const end = 8 << 16
	for _, c := range []struct {
		name          string
		count         int
		address, size uint32
		want          bool
	}{
		{"one vector", 1, atData, descriptor.BriefSize, true},
		{"no bytes", 1, atData, 0, true},
		{"at the memory's end", 1, end - 1, 1, true},
		{"beyond the memory's end", 1, end - 1, 2, false},
		{"nowhere", 1, 1<<32 - 1, 1<<32 - 1, false},
		{"many bytes", 1, atData, descriptor.BriefSize + 1, false},
		{"two vectors", 2, atData, 1, false},
		{"no vector", 0, atData, 1, false},
	} {
		g.put(atIovec, c.address, c.size)
		for _, right := range []uint64{rightFdRead, rightFdWrite} {
			fd, v := g.h.brief(slots(file, c.count), right)
			if (v != nil) != c.want {
				t.Errorf("%s, right %#x: brief is %v", c.name, right, v != nil)
			}
			if v != nil && (fd != g.h.Descriptors.Get(uint32(file)).Raw() || v.Len != uint64(c.size) || v.Base != first(g.bytesAt(int(c.address), int(c.size)))) {
				t.Errorf("%s: descriptor %d, vector %+v", c.name, fd, v)
			}
		}
	}
	g.iovec(1)
	tell := func(what string, fd int, right uint64, want bool) {
		t.Helper()
		if _, v := g.h.brief(slots(fd, 1), right); (v != nil) != want {
			t.Errorf("%s: brief is %v", what, v != nil)
		}
	}
	tell("what is not open", 99, rightFdRead, false)
	tell("a standard stream", 0, rightFdRead, false)
	tell("a directory", 3, rightFdRead, false)
	reader := g.open("file", 0, rightFdRead, 0)
	tell("to read without the right to write", reader, rightFdRead, true)
	tell("to write without the right to", reader, rightFdWrite, false)
	g.ok("fd_fdstat_set_flags", file, fdDsync)
	tell("to read where writes wait for the disk", file, rightFdRead, true)
	tell("to write where writes wait for the disk", file, rightFdWrite, false)
	beyond := slots(file, 1)
	beyond[1] = end - 7
	if _, v := g.h.brief(beyond, rightFdRead); v != nil {
		t.Error("a vector that is beyond the memory's end: brief")
	}
}

// In whatever way a call is made, it does the same.
func TestBriefCallsDoWhatOthersDo(t *testing.T) {
	for _, flags := range []int{0, fdDsync} {
		for _, sizes := range [][]uint32{{10}, {5, 5}, {descriptor.BriefSize}, {descriptor.BriefSize + 1}} {
			g, fd, path := briefGuest(t, flags)
			at, count := uint32(atData), len(sizes)
			for i, size := range sizes {
				g.put(atIovec+8*i, at, size)
				at += size
			}
			total := at - atData
			data := bytes.Repeat([]byte("0123456789"), int(total)/10+1)[:total]
			call := func(want uint32, name string, params ...any) {
				t.Helper()
				g.put(atResult, 1<<31)
				g.ok(name, params...)
				if n := g.u32(atResult); n != want {
					t.Errorf("%d bytes, flags %d: %s: %d, want %d", total, flags, name, n, want)
				}
			}
			g.write(atData, string(data))
			call(total, "fd_write", fd, atIovec, count, atResult)
			call(total, "fd_pwrite", fd, atIovec, count, uint64(total), atResult)
			if b, err := os.ReadFile(path); !bytes.Equal(b, append(data, data...)) || err != nil {
				t.Errorf("%d bytes, flags %d: the file holds %d, %v", total, flags, len(b), err)
			}
			for _, read := range []func(){
				func() { call(total, "fd_read", fd, atIovec, count, atResult) },
				func() { call(total, "fd_pread", fd, atIovec, count, uint64(0), atResult) },
			} {
				clear(g.bytesAt(atData, int(total)))
				read()
				if !bytes.Equal(g.bytesAt(atData, int(total)), data) {
					t.Errorf("%d bytes, flags %d: it read something else", total, flags)
				}
			}
			call(0, "fd_read", fd, atIovec, count, atResult)
			call(0, "fd_pread", fd, atIovec, count, uint64(1)<<40, atResult)
			call(total-1, "fd_pread", fd, atIovec, count, uint64(total)+1, atResult)

			for name, offset := range map[string][]any{"fd_read": nil, "fd_write": nil, "fd_pread": {uint64(0)}, "fd_pwrite": {uint64(0)}} {
				params := func(result int) []any {
					return append(append([]any{fd, atIovec, count}, offset...), result)
				}
				g.want(errFault, name, params(8<<16-3)...)
				if offset != nil {
					offset[0] = uint64(1) << 63
					g.want(errInval, name, params(atResult)...)
				}
			}
			// What the kernel says comes back as the guest's error.
			g.want(errInval, "fd_pwrite", fd, atIovec, count, uint64(1)<<63-1, atResult)
		}
	}
}
