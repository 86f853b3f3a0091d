package preview1

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/resolver"
)

// Where a list of results lies.
const (
	atHints = 5000
	atHead  = 5100
	atNodes = 5200
	atNames = 9000
)

// list makes n nodes as guests do, with room for size bytes of an address each
// and canonical names that point nowhere, and returns what is checked to stay.
func (g *guest) list(n, size int) {
	g.put(atHead, atNodes)
	for i := range n {
		node := atNodes + 100*i
		next := uint32(node + 100)
		if i == n-1 {
			next = 0
		}
		g.put(node, 0, 0, 0, uint32(node+28), 0xffff_fff0, 0, next)
		g.put(node+28, 0xaaaa_aa00, uint32(size), uint32(node+40))
		copy(g.bytesAt(node+40, 32), bytes.Repeat([]byte{0xee}, 32))
	}
}

func (g *guest) getaddrinfo(node, service string, family, kind, flags, maxNodes int) (Errno, int) {
	g.write(atNames, node)
	g.write(atNames+500, service)
	clear(g.bytesAt(atHints, 28))
	g.put(atHints, uint32(flags|family<<16|kind<<24))
	e := g.call("sock_getaddrinfo", atNames, len(node), atNames+500, len(service), atHints, atHead, maxNodes, atResult)
	return e, int(g.u32(atResult))
}

func TestGetaddrinfo(t *testing.T) {
	g := newGuest(t, "")
	dir := t.TempDir()
	g.h.resolver = resolver.Resolver{Hosts: filepath.Join(dir, "hosts"), Conf: filepath.Join(dir, "none"), Port: 1}
	if err := os.WriteFile(g.h.resolver.Hosts, []byte("10.0.0.1 db\nfd00::1 db\n10.0.0.2 db\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// As the Rust crate does it: a NUL in the length, 14 bytes of room, INET4.
	g.list(3, 14)
	if e, n := g.getaddrinfo("db\x00", "http\x00", familyInet4, kindStream, 0, 3); e != success || n != 2 {
		t.Fatalf("%d, %d results", e, n)
	}
	for i, last := range []byte{1, 2} {
		node := atNodes + 100*i
		if got := g.bytesAt(node, 12); !bytes.Equal(got, []byte{0, 0, familyInet4, kindStream, protocolTCP, 0, 0, 0, 16, 0, 0, 0}) {
			t.Errorf("node %d: % x", i, got)
		}
		if g.u32(node+16) != 0xffff_fff0 || g.u32(node+20) != 0 {
			t.Errorf("node %d: canonical name %#x of %d", i, g.u32(node+16), g.u32(node+20))
		}
		if got := g.u32(node + 28); got != 0xaaaa_aa00|familyInet4 {
			t.Errorf("node %d: family %#x", i, got)
		}
		want := append([]byte{0, 80, 10, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, 0}, 0xee, 0xee)
		if got := g.bytesAt(node+40, 16); !bytes.Equal(got, want) || g.u32(node+32) != 14 {
			t.Errorf("node %d: % x", i, got)
		}
	}
	// Both families with room for 26 bytes; IPv6 comes last.
	g.list(3, 26)
	if e, n := g.getaddrinfo("db", "443", familyUnspec, kindAny, 0, 3); e != success || n != 3 {
		t.Fatalf("%d, %d results", e, n)
	}
	want := []byte{1, 187, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xee}
	if got := g.bytesAt(atNodes+240, 19); !bytes.Equal(got, want) {
		t.Errorf("IPv6: % x", got)
	}
	if g.bytesAt(atNodes+202, 1)[0] != familyInet6 {
		t.Error("the last is not IPv6")
	}
	// Where IPv6 does not fit it is left out, and so is what has no node.
	g.list(3, 14)
	if e, n := g.getaddrinfo("db", "", familyUnspec, kindAny, 0, 3); e != success || n != 2 {
		t.Errorf("without room: %d, %d results", e, n)
	}
	g.list(1, 26)
	if e, n := g.getaddrinfo("db", "", familyUnspec, kindAny, 0, 5); e != success || n != 1 {
		t.Errorf("a short list: %d, %d results", e, n)
	}
	g.list(1, 26)
	for _, c := range []struct {
		what          string
		node, service string
		family, kind  int
		flags, nodes  int
		e             Errno
	}{
		{"nothing", "", "", 0, 0, 0, 1, eaiNoname},
		{"NULs", "\x00", "\x00\x00", 0, 0, 0, 1, eaiNoname},
		{"no room", "db", "", 0, 0, 0, 0, eaiMemory},
		{"unknown service", "db", "gopher", 0, 0, 0, 1, eaiService},
		{"port too large", "db", "65536", 0, 0, 0, 1, eaiService},
		{"unknown family", "db", "", 3, 0, 0, 1, eaiFamily},
		{"unknown type", "db", "", 0, 3, 0, 1, errNosys},
		{"a name where a number must be", "db", "", 0, 0, aiNumerichost, 1, eaiNoname},
		{"no such name", "a..b", "", 0, 0, 0, 1, eaiNoname},
		{"no server", "name.example", "", 0, 0, 0, 1, eaiAgain},
	} {
		if e, _ := g.getaddrinfo(c.node, c.service, c.family, c.kind, c.flags, c.nodes); e != c.e {
			t.Errorf("%s: %d, want %d", c.what, e, c.e)
		}
	}
	for flags, want := range map[int][]byte{0: {127, 0, 0, 1}, aiPassive: {0, 0, 0, 0}} {
		g.list(1, 14)
		if e, n := g.getaddrinfo("", "80", familyInet4, kindDgram, flags, 1); e != success || n != 1 || !bytes.Equal(g.bytesAt(atNodes+42, 4), want) {
			t.Errorf("no node, flags %d: %d, % x", flags, e, g.bytesAt(atNodes+42, 4))
		}
	}
}
