package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/test/usage"
)

// A busy loop would take 30 s, and polls on each tick of a clock about 1 s.
const (
	idleTime = 30 * time.Second
	idleCPU  = 600 * time.Millisecond
)

// Every kind of event loop that guests bring: mio as it was for WasmEdge, which
// asks in every round whether it can write; poll(2) for reading alone, as C and
// the newer mio do; and Go's, on a listener that it was given. The order services
// have their own test of this. All are idle at the same time, each with clients
// that have been answered.
func TestAnIdleServerUsesNoCPU(t *testing.T) {
	onNewestDaemon(t, func(t *testing.T, h *host) {
		servers := []*idleServer{
			{guest: "mio-rust"},
			{guest: "server", verb: []string{"echo"}},
			{guest: "probe-go", verb: []string{"serve"}, listener: "4"},
		}
		for _, s := range servers {
			s.start(t, h)
		}
		for _, s := range servers {
			if s.before = s.cpu(t); s.before == 0 {
				t.Fatalf("%s has not used any CPU, which cannot be", s.guest)
			}
		}
		time.Sleep(idleTime) // what is tested is that nothing happens
		for _, s := range servers {
			used := s.cpu(t) - s.before
			t.Logf("%s used %v of CPU in %v", s.guest, used, idleTime)
			if used > idleCPU {
				t.Errorf("%s used %v of CPU in %v, which is more than %v", s.guest, used, idleTime, idleCPU)
			}
			s.askAll(t) // it still lives
			if err := s.task.Kill(t.Context(), 9); err != nil {
				t.Error(err)
			}
			code(t, s.exit)
			s.c.remove(t, s.task)
		}
	})
}

// idleServer is a guest that answers with what it gets.
type idleServer struct {
	guest string
	verb  []string
	// listener is the number of the descriptor that the guest is given; it makes
	// one itself when that is empty.
	listener string

	c      *container
	task   client.Task
	exit   <-chan client.ExitStatus
	conns  []net.Conn
	before time.Duration
}

// start starts the server and some clients of it.
func (s *idleServer) start(t *testing.T, h *host) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	l.Close()
	spec := []oci.SpecOpts{oci.WithHostNamespace(specs.NetworkNamespace)}
	argument := port
	if s.listener != "" {
		argument = s.listener
		spec = append(spec, oci.WithAnnotations(map[string]string{"io.containerd.wasm.v1/listen": address}))
	}
	s.c = h.newContainerOf(t, s.guest, append(s.verb, argument), spec...)
	s.task, s.exit = s.c.start(t)
	within(t, s.guest+" listens", func() bool { return strings.Contains(s.c.stdout.String(), "listening\n") })
	for range 50 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		s.conns = append(s.conns, conn)
	}
	s.askAll(t)
}

// askAll has every client answered once.
func (s *idleServer) askAll(t *testing.T) {
	t.Helper()
	for i, conn := range s.conns {
		question, answer := fmt.Appendf(nil, "client %d", i), make([]byte, 64)
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(question); err != nil {
			t.Fatal(err)
		}
		answer = answer[:len(question)]
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != string(question) {
			t.Fatalf("%s answers %q with %q, %v", s.guest, question, answer, err)
		}
	}
}

// cpu is the time that the container's cgroup has used.
func (s *idleServer) cpu(t *testing.T) time.Duration {
	t.Helper()
	metric, err := s.task.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := typeurl.UnmarshalAny(metric.Data)
	if err != nil {
		t.Fatal(err)
	}
	used, err := usage.CPU(data)
	if err != nil {
		t.Fatal(err)
	}
	return used
}
