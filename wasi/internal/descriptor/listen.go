package descriptor

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// AcceptSocket accepts a connection, whose socket blocks or not.
func (t *Table) AcceptSocket(d *Descriptor, nonblocking bool) (*Descriptor, uint32, unix.Errno) {
	if e := d.socket(); e != 0 {
		return nil, 0, e
	}
	if e := t.Room(); e != 0 {
		return nil, 0, e
	}
	var peer kernel.Sockaddr
	var flags, mode int
	if nonblocking {
		flags, mode = unix.SOCK_NONBLOCK, unix.O_NONBLOCK
	}
	if d.now() != 0 && !kernel.Ready(d.fd, unix.POLLIN) {
		return nil, 0, unix.EAGAIN
	}
	var fd int
	for {
		var e unix.Errno
		if fd, e = kernel.Accept(d.fd, &peer, flags); e == 0 {
			break
		}
		if e != unix.EAGAIN || !d.inherited || d.flags&unix.O_NONBLOCK != 0 {
			return nil, 0, e
		}
		kernel.Wait(d.fd, unix.POLLIN)
	}
	conn, n, e := t.Add(fd, mode)
	if e != 0 {
		return nil, 0, e
	}
	conn.noDelay()
	if int(peer.N) <= len(conn.peer) {
		conn.peerSize = uint8(copy(conn.peer[:], raw(&peer)[:peer.N]))
	}
	return conn, n, 0
}

// backlog is how many connections may wait to be accepted; the kernel's own
// limit (net.core.somaxconn) is 4096 since Linux 5.4.
const backlog = 4096

// AddListener adds a TCP listener for a guest that cannot make one. The
// unspecified IPv6 address takes connections over IPv4 as well.
//
// Whether it blocks depends on the guest: Rust's and C's accept expect that,
// while Go waits in its own loop if the flags say O_NONBLOCK, which it asks for
// first, and blocks as a whole if they do not. So it blocks until somebody asks
// for its flags, and does not from then on, unless the guest says otherwise.
func (t *Table) AddListener(at netip.AddrPort) (*Descriptor, uint32, unix.Errno) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	d, n, e := t.OpenSocket(family, unix.SOCK_STREAM)
	if e != 0 {
		return nil, 0, e
	}
	// A restarted container finds connections of the last one in TIME_WAIT.
	e = kernel.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if e == 0 && family == unix.AF_INET6 {
		e = kernel.SetsockoptInt(d.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	a := Address{Port: at.Port()}
	a.Size = copy(a.IP[:], at.Addr().AsSlice())
	if e == 0 {
		e = d.Bind(&a)
	}
	if e == 0 {
		e = d.Listen(backlog)
	}
	if e != 0 {
		_ = t.Close(n)
		return nil, 0, e
	}
	d.undecided = true
	return d, n, 0
}

// AddStream adds a blocking stream of this process and owns it from then on,
// whether it succeeds or not. Whether it blocks is decided as AddListener says.
func (t *Table) AddStream(fd int) (*Descriptor, uint32, unix.Errno) {
	d, n, e := t.Add(fd, 0)
	if e == 0 {
		d.undecided = true
	}
	return d, n, e
}
