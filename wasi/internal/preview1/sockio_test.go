package preview1

import (
	"testing"
	"time"
)

func TestHalfClose(t *testing.T) {
	g := newGuest(t, "")
	client, server := g.connection()
	g.send(client, "request")
	g.ok("sock_shutdown", client, shutWrite)
	if got := g.recv(server, 100); got != "request" {
		t.Errorf("received %q", got)
	}
	g.sub(0, eventFdRead, server)
	g.sub(1, eventFdWrite, server)
	for _, e := range g.poll(2) {
		if e.flags != 0 || e.e != success {
			t.Errorf("half closed: %+v", e)
		}
	}
	if got := g.recv(server, 100); got != "" {
		t.Errorf("after the end: %q", got)
	}
	g.send(server, "response")
	if got := g.recv(client, 100); got != "response" {
		t.Errorf("the other half: %q", got)
	}
	g.ok("sock_shutdown", server, 3)
	if e := g.poll(1); len(e) != 1 || e[0].flags != eventHangup {
		t.Errorf("closed both ways: %+v", e)
	}
	for _, how := range []int{0, 4, 7} {
		g.want(errInval, "sock_shutdown", server, how)
	}
}

func TestWritingToAClosedConnection(t *testing.T) {
	g := newGuest(t, "")
	client, server := g.connection()
	g.ok("fd_close", server)
	g.iovec(1000)
	// The first may still be taken; the reset makes the next fail, and no signal.
	var e Errno
	for i := 0; i < 100 && e == success; i++ {
		e = g.call("sock_send", client, atIovec, 1, 0, atResult)
		time.Sleep(time.Millisecond)
	}
	if e != 64 && e != 15 {
		t.Errorf("send: %d", e)
	}
	g.want(64, "fd_write", client, atIovec, 1, atResult)
}

func TestFilesFunctionsOnSockets(t *testing.T) {
	g := newGuest(t, "")
	client, server := g.connection()
	udp := g.socket(familyInet4, kindDgram)
	for fd, filetype := range map[int]byte{client: 6, udp: 5} {
		g.ok("fd_fdstat_get", fd, atResult)
		const needed = rightFdRead | rightFdWrite | rightFdFdstatSetFlags | rightPollFdReadwrite | rightSockShutdown | rightFdFilestatGet | rightSockAccept
		if b := g.bytesAt(atResult, 24); b[0] != filetype || le64(b[8:])&needed != needed || le64(b[16:]) != le64(b[8:]) {
			t.Errorf("fdstat: % x", b)
		}
		g.ok("fd_filestat_get", fd, atResult)
		if b := g.bytesAt(atResult, 64); b[16] != filetype || le64(b[24:]) != 1 || le64(b[32:]) != 0 {
			t.Errorf("filestat: % x", b)
		}
	}
	g.write(atData, "ping")
	g.iovec(4)
	g.ok("fd_write", client, atIovec, 1, atResult)
	g.put(atIovec, atData+100, 1, atData+200, 3)
	g.ok("fd_read", server, atIovec, 2, atResult)
	if g.u32(atResult) != 4 || string(g.bytesAt(atData+100, 1))+string(g.bytesAt(atData+200, 3)) != "ping" {
		t.Errorf("read %d bytes", g.u32(atResult))
	}
	g.want(errSpipe, "fd_pread", server, atIovec, 1, uint64(0), atResult)
	g.want(errSpipe, "fd_pwrite", server, atIovec, 1, uint64(0), atResult)
	g.want(errSpipe, "fd_seek", server, uint64(0), 0, atResult)
	g.want(errSpipe, "fd_tell", server, atResult)
	g.want(errNotdir, "path_open", server, 0, atPath, 1, 0, uint64(0), uint64(0), 0, atResult)
	g.want(errBadf, "fd_prestat_get", server, atResult)
	g.ok("fd_fdstat_set_flags", server, fdNonblock|fdAppend|fdSyncFlag)
	g.ok("fd_fdstat_get", server, atResult)
	if flags := g.u32(atResult) >> 16; flags != fdNonblock {
		t.Errorf("flags %#x", flags)
	}
	g.iovec(4)
	g.want(6, "fd_read", server, atIovec, 1, atResult)
	g.want(6, "sock_recv", server, atIovec, 1, 0, atResult, atOther)
	g.ok("fd_renumber", client, 1)
	g.write(atData, "more")
	g.ok("fd_write", 1, atIovec, 1, atResult)
	if got := g.recv(server, 10); got != "more" {
		t.Errorf("through the new number: %q", got)
	}
	// A file is no socket, and what is not open is neither.
	for _, c := range []struct {
		fd int
		e  Errno
	}{{0, errNotsock}, {client, errBadf}, {-1, errBadf}} {
		g.want(c.e, "sock_shutdown", c.fd, 1)
		g.want(c.e, "sock_recv", c.fd, atIovec, 1, 0, atResult, atOther)
		g.want(c.e, "sock_send", c.fd, atIovec, 1, 0, atResult)
		g.want(c.e, "sock_accept", c.fd, 0, atResult)
		g.want(c.e, "sock_accep$", c.fd, atResult)
		g.want(c.e, "sock_listen", c.fd, 1)
		g.want(c.e, "sock_bind", c.fd, atAddress, 1)
		g.want(c.e, "sock_connect", c.fd, atAddress, 1)
		g.want(c.e, "sock_getsockopt", c.fd, 0, 1, atResult, 4)
		g.want(c.e, "sock_setsockopt", c.fd, 0, 0, atResult, 4)
		g.want(c.e, "sock_getlocaladdr", c.fd, atAddress, atResult)
		g.want(c.e, "sock_send_to", c.fd, atIovec, 1, atAddress, 1, 0, atResult)
	}
}

func TestModeOfAcceptedConnections(t *testing.T) {
	g := newGuest(t, "")
	l, port := g.listener()
	g.ok("fd_fdstat_set_flags", l, fdNonblock)
	g.want(6, "sock_accept", l, 0, atResult)
	g.want(6, "sock_accep$", l, atResult)
	g.want(errInval, "sock_accept", l, fdAppend, atResult)
	g.want(errInval, "sock_accept", l, fdNonblock|fdSyncFlag, atResult)
	for _, c := range []struct {
		name   string
		params []any
		want   uint32
	}{
		{"sock_accep$", []any{l, atResult}, 0},
		{"sock_accept", []any{l, 0, atResult}, 0},
		{"sock_accept", []any{l, fdNonblock, atResult}, fdNonblock},
		{"sock_accept_v2", []any{l, fdNonblock, atResult}, fdNonblock},
	} {
		client := g.socket(familyInet4, kindStream)
		g.addr(loopback4...)
		g.ok("sock_connect", client, atAddress, port)
		g.ok(c.name, c.params...)
		g.ok("fd_fdstat_get", g.u32(atResult), atOther)
		if flags := g.u32(atOther) >> 16; flags != c.want {
			t.Errorf("%s%v: flags %d", c.name, c.params, flags)
		}
	}
}
