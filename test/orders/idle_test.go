package orders

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/typeurl/v2"

	"github.com/wasmshim/containerd-shim-wasm/test/usage"
)

// A busy loop would take 30 s, and polls on each tick of a clock about 1 s.
const (
	idleTime = 30 * time.Second
	idleCPU  = 600 * time.Millisecond
)

// With clients that keep their connections, and the connections of the pool to
// the database. The services of both languages are idle at the same time.
func TestAnIdleServiceUsesNoCPU(t *testing.T) {
	needsStage(t)
	for _, guest := range guests {
		s := running(t, guest)
		s.empty(t)
		conns := make([]net.Conn, 50)
		for i := range conns {
			conns[i] = raw(t, s)
			send(t, conns[i], "GET /orders HTTP/1.1\r\nHost: orders\r\n\r\n")
		}
		for _, c := range conns {
			if code, body, err := readAnswer(c); err != nil || code != 200 {
				t.Fatalf("got %d %s, %v", code, body, err)
			}
		}
	}
	before := map[string]time.Duration{}
	for _, guest := range guests {
		if before[guest] = running(t, guest).cpu(t); before[guest] == 0 {
			t.Fatalf("%s has not used any CPU, which cannot be", guest)
		}
	}
	time.Sleep(idleTime) // what is tested is that nothing happens
	for _, guest := range guests {
		used := running(t, guest).cpu(t) - before[guest]
		t.Logf("%s used %v of CPU in %v", guest, used, idleTime)
		if used > idleCPU {
			t.Errorf("%s used %v of CPU in %v, which is more than %v", guest, used, idleTime, idleCPU)
		}
	}
}

// cpu is the time that the container's cgroup has used.
func (v *Service) cpu(t *testing.T) time.Duration {
	t.Helper()
	metric, err := v.Task.Metrics(t.Context())
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

func TestSigtermEndsAServiceWith143(t *testing.T) {
	needsStage(t)
	for _, guest := range guests {
		t.Run(guest, func(t *testing.T) {
			s := one(t, ServiceConfig{Guest: guest})
			idle := raw(t, s)
			if err := s.Kill(t.Context(), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if code, err := s.Ended(t.Context()); err != nil || code != 143 {
				t.Errorf("it ended with %d, %v", code, err)
			}
			if n, err := idle.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("its connections are still open: %d bytes, %v", n, err)
			}
			want := fmt.Sprintf("orders: listening on 0.0.0.0:%d\n", s.Port)
			if out := s.Output.String(); out != want {
				t.Errorf("it printed %q", out)
			}
		})
	}
}
