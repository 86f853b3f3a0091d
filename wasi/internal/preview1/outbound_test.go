package preview1

import (
	"bufio"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/outbound"
)

func TestWhatTheRulesDoNotListIsRefusedAndToldOnce(t *testing.T) {
	g := newGuest(t, t.TempDir())
	l, port := g.listener()
	rules, err := outbound.Parse([]string{"127.0.0.2"}, &g.h.resolver)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	g.h.outbound, g.h.refused, g.h.stderr = rules, map[netip.AddrPort]bool{}, int(w.Fd())

	stream := g.socket(familyInet4, kindStream)
	g.addr(loopback4...)
	g.want(errAcces, "sock_connect", stream, atAddress, port)
	g.want(errAcces, "sock_connect", stream, atAddress, port)
	datagrams := g.socket(familyInet4, kindDgram)
	g.write(atData, "x")
	g.iovec(1)
	g.addr(loopback4...)
	g.want(errAcces, "sock_send_to", datagrams, atIovec, 1, atAddress, port, 0, atResult)
	g.want(errAcces, "sock_connect", datagrams, atAddress, port)
	g.addr(127, 0, 0, 2)
	g.ok("sock_connect", datagrams, atAddress, port)
	g.ok("fd_close", l)

	w.Close()
	lines := bufio.NewScanner(r)
	var told []string
	for lines.Scan() {
		told = append(told, lines.Text())
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "connecting to 127.0.0.1:") {
		t.Errorf("stderr has %q", told)
	}
}

// What a guest writes into resolv.conf would otherwise be a destination: its host
// sends the question there.
func TestAGuestUnderRulesCannotNameANameServer(t *testing.T) {
	h, err := New(Config{Outbound: []string{}, Stderr: -1}, descriptor.NewTable(10, 10))
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 203.0.113.9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := h.resolver.Servers()
	h.resolver.Conf = conf
	if now := h.resolver.Servers(); !slices.Equal(now, before) {
		t.Errorf("lookups would ask %v, before the guest ran %v", now, before)
	}
}
