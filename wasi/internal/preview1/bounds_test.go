package preview1

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/resolver"
)

// What a guest hands over may be as large as its memory. What the host allocates
// for it may not: nobody collects it in time.
func TestTheSizeOfACallIsNotAllocated(t *testing.T) {
	g := newGuest(t, t.TempDir())
	g.h.resolver = resolver.Resolver{Hosts: "/dev/null", Conf: "/dev/null", Port: 1}
	const huge = 48 << 20
	if _, ok := g.mem.Grow(huge >> 16); !ok {
		t.Fatal("the memory does not grow")
	}
	fill := func(size int, with byte) {
		b := g.bytesAt(atData, size)
		for i := range b {
			b[i] = with
		}
	}
	const subscriptions = huge / subscriptionSize
	for _, c := range []struct {
		name string
		with byte
		call func() Errno
		want Errno
	}{
		{"a name", 'a', func() Errno {
			g.put(atOther, atOther+100)
			return g.call("sock_getaddrinfo", atData, huge, 0, 0, 0, atOther, 1, atResult)
		}, eaiNoname},
		{"a service", 'a', func() Errno {
			g.put(atOther, atOther+100)
			return g.call("sock_getaddrinfo", 0, 0, atData, huge, 0, atOther, 1, atResult)
		}, eaiService},
		{"a path", 'a', func() Errno { return g.call("path_open", 3, 0, atData, huge, 0, 0, 0, 0, atResult) }, errNametoolong},
		{"a link", 'a', func() Errno { g.write(atPath, "l"); return g.call("path_symlink", atData, huge, 3, atPath, 1) }, errNametoolong},
		{"subscriptions", 1, func() Errno {
			// All of them to read descriptor 0x01010101, which is not open: events
			// of the errors go where the subscriptions were.
			return g.call("poll_oneoff", atData, atData, subscriptions, atResult)
		}, success},
		{"random bytes", 0, func() Errno { return g.call("random_get", atData, huge) }, success},
		{"a vector", 0, func() Errno {
			g.put(atIovec, atData, huge)
			return g.call("fd_write", 1, atIovec, 1, atResult)
		}, success},
		{"vectors", 0, func() Errno { return g.call("fd_write", 1, atData, huge/8, atResult) }, errInval},
		{"a directory", 0, func() Errno { return g.call("fd_readdir", 3, atData, huge, uint64(0), atResult) }, success},
	} {
		fill(huge, c.with)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := c.call()
		runtime.ReadMemStats(&after)
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s of %d bytes: the host allocates %d", c.name, huge, n)
		}
		if c.name == "random bytes" && bytes.Equal(g.bytesAt(atData+huge-16, 16), make([]byte, 16)) {
			t.Error("random_get left out the end")
		}
	}
}
