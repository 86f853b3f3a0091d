package preview1

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestListenersAreNeverWritable(t *testing.T) {
	g := newGuest(t, "")
	l, port := g.listener()
	g.sub(0, eventFdWrite, l)
	g.sub(1, eventFdRead, l)
	g.subClock(2, clockMonotonic, 0, false)
	if e := g.poll(3); len(e) != 1 || e[0].tag != eventClock {
		t.Errorf("idle: %+v", e)
	}
	client := g.socket(familyInet4, kindStream)
	g.addr(loopback4...)
	g.ok("sock_connect", client, atAddress, port)
	if e := g.poll(3); len(e) != 2 || e[0].tag != eventFdRead {
		t.Errorf("with a connection: %+v", e)
	}
}

// TestRepeatedWriteReadinessIsDelayed polls as the old stack does: every
// connection, for reading and writing, in every round.
func TestRepeatedWriteReadinessIsDelayed(t *testing.T) {
	g := newGuest(t, "")
	client, server := g.connection()
	round := func() []event {
		g.sub(0, eventFdRead, server)
		g.sub(1, eventFdWrite, server)
		return g.poll(2)
	}
	// promptly runs what must not take the delay at its longest. A busy machine
	// may be late itself, but not every time.
	promptly := func(what string, try func() bool) {
		t.Helper()
		for range 10 {
			begin := time.Now()
			if !try() {
				t.Fatalf("%s: not the events that were to come", what)
			}
			if time.Since(begin) < 90*time.Millisecond {
				return
			}
		}
		t.Errorf("%s: late every time", what)
	}
	delay := func() {
		t.Helper()
		var rounds int
		for begin := time.Now(); time.Since(begin) < 500*time.Millisecond; rounds++ {
			if e := round(); len(e) != 1 || e[0].tag != eventFdWrite {
				t.Fatalf("%+v", e)
			}
		}
		if rounds > 20 {
			t.Errorf("%d rounds in half a second", rounds)
		}
	}
	if len(round()) != 1 {
		t.Error("no first answer")
	}
	delay()
	fd := g.h.Descriptors.Get(uint32(client))
	promptly("what can be read", func() bool {
		_, e := fd.Send([]unix.Iovec{{Base: &[]byte{'x'}[0], Len: 1}}, nil)
		events := round()
		_ = g.recv(server, 10)
		return e == 0 && slices.ContainsFunc(events, func(e event) bool { return e.tag == eventFdRead })
	})
	promptly("a deadline", func() bool {
		g.sub(0, eventFdRead, server)
		g.sub(1, eventFdWrite, server)
		g.subClock(2, clockMonotonic, 10*ms, false)
		return slices.ContainsFunc(g.poll(3), func(e event) bool { return e.tag == eventClock || e.tag == eventFdWrite })
	})
	delay()
	promptly("the answer after sending", func() bool {
		g.send(server, "y")
		return len(round()) == 1
	})
}

func TestTenThousandConnections(t *testing.T) {
	g := newGuest(t, "")
	before := openFiles(t)
	l, port := g.listener()
	for range 50 {
		var batch []uint32
		for range 200 {
			client := g.socket(familyInet4, kindStream)
			// A reset leaves no port waiting behind.
			g.put(atResult, 1, 0)
			g.ok("sock_setsockopt", client, 0, 9, atResult, 8)
			g.addr(loopback4...)
			g.ok("sock_connect", client, atAddress, port)
			g.ok("sock_accept", l, 0, atResult)
			batch = append(batch, uint32(client), g.u32(atResult))
		}
		if slices.Max(batch) != uint32(l+400) {
			t.Fatalf("numbers go up to %d", slices.Max(batch))
		}
		for _, fd := range batch {
			g.ok("fd_close", fd)
		}
	}
	g.ok("fd_close", l)
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
