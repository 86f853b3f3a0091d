package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
)

// crates are guests of one program, compiled unchanged with two versions of
// WasmEdge's socket crate. The first has the older functions throughout, and
// leaves names to its host; the second receives datagrams by the newer function
// and brings a resolver.
var crates = []string{"wasmedge-socket-0-4", "wasmedge-socket-0-5"}

// crateGuest is a guest of crates that runs in the host's network.
type crateGuest struct {
	t *testing.T
	*container
	task client.Task
	exit <-chan client.ExitStatus
}

func startCrateGuest(t *testing.T, h *host, guest string, args []string, spec ...oci.SpecOpts) *crateGuest {
	t.Helper()
	if spec == nil {
		spec = []oci.SpecOpts{resolverFiles(t, "", "")}
	}
	g := &crateGuest{t: t, container: h.newContainerOf(t, guest, args, spec...)}
	g.task, g.exit = g.start(t)
	return g
}

// says waits for a line that begins so, and returns the rest of it.
func (g *crateGuest) says(begin string) (rest string) {
	g.t.Helper()
	within(g.t, "the guest says "+begin, func() bool {
		for line := range strings.Lines(g.stdout.String()) {
			after, ok := strings.CutPrefix(line, begin)
			if ok && strings.HasSuffix(line, "\n") {
				rest = strings.TrimSpace(after)
				return true
			}
		}
		return false
	})
	return rest
}

// ends waits for the guest's end, which must be with that code.
func (g *crateGuest) ends(want uint32) (stdout string) {
	g.t.Helper()
	got := code(g.t, g.exit)
	g.remove(g.t, g.task)
	if got != want {
		g.t.Errorf("it ended with %d, want %d; it printed %q, %q", got, want, g.stdout.String(), g.stderr.String())
	}
	return g.stdout.String()
}

// loopbacks are what a peer listens on.
var loopbacks = []string{"127.0.0.1:0", "[::1]:0"}

func TestACrateConnectsToAPeer(t *testing.T) {
	onNewestDaemon(t, func(t *testing.T, h *host) {
		for _, guest := range crates {
			for _, at := range loopbacks {
				l, err := net.Listen("tcp", at)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				heard := make(chan string, 1)
				go func() {
					c, err := l.Accept()
					if err != nil {
						heard <- err.Error()
						return
					}
					defer c.Close()
					_ = c.SetDeadline(time.Now().Add(patience))
					text, _ := io.ReadAll(c) // until the guest has shut its side down
					_, _ = fmt.Fprintf(c, "to the guest\n")
					heard <- c.RemoteAddr().String() + " " + string(text)
				}()
				g := startCrateGuest(t, h, guest, []string{"connect", l.Addr().String()})
				if at == loopbacks[1] {
					// No version connects to IPv6.
					if out := g.ends(1); out != "failed: Unsupported\n" {
						t.Errorf("%s printed %q", guest, out)
					}
					l.Close()
					<-heard
					continue
				}
				local := g.says("local ")
				want := fmt.Sprintf("peer %s\nlocal %s\nreceived \"to the guest\\n\"\n", l.Addr(), local)
				if out := g.ends(0); out != want {
					t.Errorf("%s printed %q, want %q", guest, out, want)
				}
				if got := <-heard; got != local+" from the guest\n" {
					t.Errorf("%s: the peer heard %q", guest, got)
				}
				l.Close()
			}
			// Nobody is there any more.
			g := startCrateGuest(t, h, guest, []string{"connect", "127.0.0.1:1"})
			if out := g.ends(1); out != "failed: ConnectionRefused\n" {
				t.Errorf("%s printed %q", guest, out)
			}
		}
	})
}

func TestACrateServesPeers(t *testing.T) {
	onNewestDaemon(t, func(t *testing.T, h *host) {
		for _, guest := range crates {
			for _, at := range loopbacks {
				for verb, connections := range map[string]int{"serve": 2, "serve-by-events": 1} {
					g := startCrateGuest(t, h, guest, []string{verb, at})
					address := g.says("listening ")
					want := "listening " + address + "\n"
					for range connections {
						local, echo := echoOf(t, address, strings.Repeat("0123456789", 20_000))
						want += "accepted " + local + "\n"
						if echo != strings.Repeat("0123456789", 20_000) {
							t.Errorf("%s %s sent %d bytes back", guest, verb, len(echo))
						}
					}
					if out := g.ends(0); out != want {
						t.Errorf("%s %s printed %q, want %q", guest, verb, out, want)
					}
				}
			}
		}
	})
}

// echoOf sends text, shuts its side down and reads to the end.
func echoOf(t *testing.T, address, text string) (local, echo string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
		sent <- err
	}()
	b, err := io.ReadAll(c)
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Error(err)
	}
	return c.LocalAddr().String(), string(b)
}

func TestACrateExchangesDatagramsWithAPeer(t *testing.T) {
	onNewestDaemon(t, func(t *testing.T, h *host) {
		for _, guest := range crates {
			for _, at := range loopbacks {
				peer, err := net.ListenPacket("udp", at)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { peer.Close() })
				if err := peer.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				// The guest's version 0.4 cannot tell who sent a datagram over IPv6.
				knows := guest != crates[0] || at != loopbacks[1]

				g := startCrateGuest(t, h, guest, []string{"send-to", peer.LocalAddr().String()})
				b := make([]byte, 64)
				n, from, err := peer.ReadFrom(b)
				if err != nil || string(b[:n]) != "from the guest" {
					t.Fatalf("%s: got %q, %v", guest, b[:n], err)
				}
				if _, err := peer.WriteTo([]byte("to the guest"), from); err != nil {
					t.Fatal(err)
				}
				out := g.ends(0)
				if want := fmt.Sprintf("received \"to the guest\" from %s\n", peer.LocalAddr()); knows && out != want || !strings.HasPrefix(out, "received \"to the guest\" from ") {
					t.Errorf("%s printed %q, want %q", guest, out, want)
				}

				if !knows {
					continue
				}
				g = startCrateGuest(t, h, guest, []string{"answer", at})
				to, err := net.ResolveUDPAddr("udp", g.says("listening "))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := peer.WriteTo([]byte("question"), to); err != nil {
					t.Fatal(err)
				}
				n, from, err = peer.ReadFrom(b)
				if err != nil || string(b[:n]) != "question" || from.String() != to.String() {
					t.Errorf("%s: %q came back from %v, %v", guest, b[:n], from, err)
				}
				if want := fmt.Sprintf("received \"question\" from %s", peer.LocalAddr()); !strings.Contains(g.ends(0), want) {
					t.Errorf("%s printed %q, want %q", guest, g.stdout.String(), want)
				}
			}
		}
	})
}

func TestACratesNamesAreThoseOfItsContainer(t *testing.T) {
	server := serveNames(t, map[string]string{"db.shop.example.": "198.51.100.9"})
	files := resolverFiles(t, "192.0.2.7 known.example\n", "search shop.example\nnameserver fd00::53\nnameserver "+server+"\noptions timeout:1\n")
	onNewestDaemon(t, func(t *testing.T, h *host) {
		for _, tt := range []struct {
			guest, name string
			annotations []string
			want        string
		}{
			{crates[0], "known.example", nil, "192.0.2.7\n"},
			{crates[0], "db", nil, "198.51.100.9\n"},
			{crates[0], "nobody.example", nil, "failed: Uncategorized\n"},
			{crates[1], "db.shop.example", []string{"dns-server", "resolv.conf"}, "198.51.100.9\n"},
			{crates[1], "nobody.shop.example", []string{"dns-server", "resolv.conf"}, "failed: Uncategorized\n"},
			// Name servers are allowed by themselves, and without the annotation it
			// asks one that is not the container's.
			{crates[1], "db.shop.example", []string{"dns-server", "resolv.conf", "allow-outbound", "none"}, "198.51.100.9\n"},
			{crates[1], "db.shop.example", []string{"dns-server", "none", "allow-outbound", "none"}, "failed: PermissionDenied\n"},
		} {
			g := startCrateGuest(t, h, tt.guest, []string{"resolve", tt.name}, files, annotated(tt.annotations...))
			var want uint32
			if strings.HasPrefix(tt.want, "failed") {
				want = 1
			}
			if out := g.ends(want); out != tt.want {
				t.Errorf("%s with %v resolves %s to %q", tt.guest, tt.annotations, tt.name, out)
			}
			if asked := strings.Contains(g.stderr.String(), "connecting to 8.8.8.8:53 is refused"); asked != (tt.want == "failed: PermissionDenied\n") {
				t.Errorf("%s with %v: %q", tt.guest, tt.annotations, g.stderr.String())
			}
		}
	})
}

func TestANameServerThatACrateCannotReachIsToldAtCreate(t *testing.T) {
	onNewestDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainerOf(t, crates[1], []string{"resolve", "x"}, resolverFiles(t, "", "nameserver fd00::53\n"), annotated("dns-server", "resolv.conf"))
		_, err := c.NewTask(t.Context(), cio.NullIO)
		if want := "/etc/resolv.conf names no IPv4 name server for DNS_SERVER"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v", err)
		}
		c.remove(t, nil)
	})
}
