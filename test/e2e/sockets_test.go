package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/dns/dnsmessage"
)

// The guest of test/guests/sockets.c checks these itself.
func TestSocketsAreAsGuestsOfWasmEdgeExpect(t *testing.T) {
	onNewestDaemon(t, func(t *testing.T, h *host) {
		for _, promise := range []string{
			"both-accepts", "addresses", "connect", "options", "half-close", "poll", "damping", "plain-io",
			"receive-timeout", "datagrams", "reset-peer", "many", "thousand",
		} {
			r := h.run(t, ctrRun{image: "sockets", flags: []string{"--rlimit-nofile", "4096"}, args: []string{"/sockets.wasm", promise}})
			if r.Code != 0 || r.Stdout != "ok\n" {
				t.Errorf("%s: %+v", promise, r)
			}
		}
	})
}

func TestAGuestThatLeaksConnectionsHitsItsLimit(t *testing.T) {
	onNewestDaemon(t, func(t *testing.T, h *host) {
		for _, flags := range [][]string{{"--rlimit-nofile", "64"}, {"--annotation", "io.containerd.wasm.v1/max-files=64"}} {
			r := h.run(t, ctrRun{image: "sockets", flags: flags, args: []string{"/sockets.wasm", "limit"}})
			if r.Code != 0 || r.Stdout != "ok\n" {
				t.Errorf("with %v: %+v", flags, r)
			}
		}
	})
}

func TestNamesAreResolvedAsInTheContainer(t *testing.T) {
	server := serveNames(t, map[string]string{"db.shop.example.": "198.51.100.9"})
	files := resolverFiles(t, "127.0.0.1 localhost\n192.0.2.7 known.example\n",
		"search other.example shop.example\nnameserver "+server+"\noptions ndots:5\n")
	onNewestDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainerOf(t, "sockets", []string{"names", "known.example", "db"}, files)
		task, exit := c.start(t)
		if got := code(t, exit); got != 0 {
			t.Errorf("exit code %d", got)
		}
		c.remove(t, task)
		if out := c.stdout.String(); out != "ok\n" {
			t.Error(out)
		}
	})
}

// A guest may be able to write to resolv.conf, but its rules for outbound
// connections hold for what its host asks in its name.
func TestAGuestUnderRulesCannotChooseANameServer(t *testing.T) {
	right, other := serveNames(t, map[string]string{}), serveNames(t, map[string]string{"secret.example.": "198.51.100.9"})
	onNewestDaemon(t, func(t *testing.T, h *host) {
		for want, spec := range map[string]oci.SpecOpts{
			"asks it\n":        annotated(),
			"asks as before\n": annotated("allow-outbound", "none"),
		} {
			files := resolverFilesAs(t, "rw", "", "nameserver "+right+"\n")
			c := h.newContainerOf(t, "sockets", []string{"other-server", other, "secret.example"}, files, spec)
			task, exit := c.start(t)
			if got := code(t, exit); got != 0 {
				t.Errorf("exit code %d: %s", got, c.stderr.String())
			}
			c.remove(t, task)
			if out := c.stdout.String(); out != want {
				t.Errorf("it %s", out)
			}
		}
	})
}

// resolverFiles puts a container into the host's network, with files of its own
// to resolve names by.
func resolverFiles(t *testing.T, hosts, conf string) oci.SpecOpts {
	t.Helper()
	return resolverFilesAs(t, "ro", hosts, conf)
}

// resolverFilesAs does so with the mount option ro or rw.
func resolverFilesAs(t *testing.T, access, hosts, conf string) oci.SpecOpts {
	t.Helper()
	var mounts []specs.Mount
	for name, text := range map[string]string{"hosts": hosts, "resolv.conf": conf} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		mounts = append(mounts, specs.Mount{Type: "bind", Source: file, Destination: "/etc/" + name, Options: []string{"rbind", access}})
	}
	return oci.Compose(oci.WithHostNamespace(specs.NetworkNamespace), oci.WithMounts(mounts))
}

func TestAGuestThatWaitsInACallEndsBySignals(t *testing.T) {
	server := serveNames(t, nil) // hears, and never answers
	files := resolverFiles(t, "", "nameserver "+server+"\n")
	onNewestDaemon(t, func(t *testing.T, h *host) {
		for _, call := range []string{"accept", "connect", "recv", "poll", "send", "getaddrinfo"} {
			c := h.newContainerOf(t, "sockets", []string{"block", call}, files)
			task, exit := c.start(t)
			within(t, "the guest runs", func() bool { return c.stdout.String() == "blocks\n" })
			kill(t, task, syscall.SIGTERM)
			if got := code(t, exit); got != 143 {
				t.Errorf("in %s SIGTERM ends the guest with %d", call, got)
			}
			c.remove(t, task)
		}
	})
}

// serveNames is a name server on an address of the loopback of its own, over UDP
// and TCP. Without names it never answers.
func serveNames(t *testing.T, names map[string]string) (address string) {
	t.Helper()
	var udp net.PacketConn
	var tcp net.Listener
	for i := 1; tcp == nil; i++ {
		address = fmt.Sprintf("127.53.%d.%d", os.Getpid()%250, i)
		var err error
		if udp, err = net.ListenPacket("udp", address+":53"); err == nil {
			if tcp, err = net.Listen("tcp", address+":53"); err != nil {
				udp.Close()
			}
		}
		if err != nil && (i == 100 || !errors.Is(err, syscall.EADDRINUSE)) {
			t.Fatal(err)
		}
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 512)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := answerOf(buf[:n], names); answer != nil {
				_, _ = udp.WriteTo(answer, from)
			}
		}
	})
	serving.Go(func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			answerOverTCP(c, names)
		}
	})
	t.Cleanup(func() {
		udp.Close()
		tcp.Close()
		serving.Wait()
	})
	return address
}

// answerOverTCP answers one question, which has its length before it.
func answerOverTCP(c net.Conn, names map[string]string) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	question := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, question); err != nil {
		return
	}
	answer := answerOf(question, names)
	_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
}

func answerOf(question []byte, names map[string]string) []byte {
	var m dnsmessage.Message
	if names == nil || m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}
	m.Additionals = nil
	if ip, ok := names[q.Name.String()]; !ok {
		m.RCode = dnsmessage.RCodeNameError
	} else if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(ip).To4())},
		}}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}
