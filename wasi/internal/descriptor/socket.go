package descriptor

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// Address is an internet address with a port.
type Address struct {
	// IP holds 4 or 16 bytes, or none for an address of another kind.
	IP   [16]byte
	Size int
	Port uint16
}

// Encode returns the kernel's form.
func (a *Address) Encode() kernel.Sockaddr {
	var s kernel.Sockaddr
	a.encode(&s)
	return s
}

// encode writes the kernel's form.
func (a *Address) encode(s *kernel.Sockaddr) {
	b := raw(s)
	switch a.Size {
	case 4:
		clear(b[:unix.SizeofSockaddrInet4])
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
		copy(b[4:8], a.IP[:4])
		s.N = unix.SizeofSockaddrInet4
	case 16:
		clear(b[:unix.SizeofSockaddrInet6])
		binary.NativeEndian.PutUint16(b, unix.AF_INET6)
		copy(b[8:24], a.IP[:])
		s.N = unix.SizeofSockaddrInet6
	}
	binary.BigEndian.PutUint16(b[2:], a.Port)
}

// decode reads it.
func (a *Address) decode(s *kernel.Sockaddr) {
	*a = Address{}
	b := raw(s)
	family := binary.NativeEndian.Uint16(b)
	switch {
	case family == unix.AF_INET && s.N >= unix.SizeofSockaddrInet4:
		a.Size = copy(a.IP[:], b[4:8])
	case family == unix.AF_INET6 && s.N >= unix.SizeofSockaddrInet6:
		a.Size = copy(a.IP[:], b[8:24])
	default:
		return
	}
	a.Port = binary.BigEndian.Uint16(b[2:])
}

func raw(s *kernel.Sockaddr) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&s.Raw)), unsafe.Sizeof(s.Raw))
}

// OpenSocket makes a socket of AF_* and SOCK_*, which blocks.
func (t *Table) OpenSocket(family, kind int) (*Descriptor, uint32, unix.Errno) {
	if e := t.Room(); e != 0 {
		return nil, 0, e
	}
	fd, e := kernel.Socket(family, kind, 0)
	if e != 0 {
		return nil, 0, e
	}
	d, n, e := t.Add(fd, 0)
	if e == 0 {
		d.noDelay()
	}
	return d, n, e
}

// noDelay switches Nagle's algorithm off, since many guests cannot, and all
// were written against hosts where it is off.
func (d *Descriptor) noDelay() {
	if d.Type == StreamSocket {
		_ = kernel.SetsockoptInt(d.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
}

// socket fails for what is not a socket.
func (d *Descriptor) socket() unix.Errno {
	if !d.IsSocket() || d.fd < 0 {
		return unix.ENOTSOCK
	}
	return 0
}

// Bind is bind(2).
func (d *Descriptor) Bind(a *Address) unix.Errno {
	if e := d.socket(); e != 0 {
		return e
	}
	var s kernel.Sockaddr
	a.encode(&s)
	return kernel.Bind(d.fd, &s)
}

// Listen is listen(2).
func (d *Descriptor) Listen(backlog int) unix.Errno {
	if e := d.socket(); e != 0 {
		return e
	}
	return kernel.Listen(d.fd, backlog)
}

// Connect is connect(2). On a socket that blocks it returns when the connection
// is made or has failed, or with EAGAIN after the time of SO_SNDTIMEO.
func (d *Descriptor) Connect(a *Address) unix.Errno {
	if e := d.socket(); e != 0 {
		return e
	}
	d.writes = 0
	var s kernel.Sockaddr
	a.encode(&s)
	e := kernel.Connect(d.fd, &s)
	if d.flags&unix.O_NONBLOCK != 0 {
		return e
	}
	switch e {
	case unix.EINTR:
		kernel.Wait(d.fd, unix.POLLOUT)
		failed, e := kernel.GetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if e != 0 {
			return e
		}
		return unix.Errno(failed)
	case unix.EINPROGRESS:
		return unix.EAGAIN
	}
	return e
}

// Recv receives with flags MSG_*, and reports whether a datagram was longer than
// the vectors; from, unless nil, is set to the sender.
func (d *Descriptor) Recv(v []unix.Iovec, from *Address, flags int) (n int, truncated bool, e unix.Errno) {
	if e := d.socket(); e != 0 {
		return 0, false, e
	}
	if len(v) == 1 && from == nil && d.Type == StreamSocket {
		n, e = d.recv(&v[0], flags)
		return n, false, e
	}
	var s kernel.Sockaddr
	for {
		n, got, e := kernel.Recvmsg(d.fd, v, &s, flags|d.now())
		if e == unix.EAGAIN && d.inherited && d.flags&unix.O_NONBLOCK == 0 {
			kernel.Wait(d.fd, unix.POLLIN)
			continue
		}
		d.received(n)
		if from != nil && e == 0 {
			from.decode(&s)
			if from.Size == 0 {
				_ = d.Peer(from)
			}
		}
		return n, got&unix.MSG_TRUNC != 0, e
	}
}

// recv is Recv for most calls of most guests.
func (d *Descriptor) recv(v *unix.Iovec, flags int) (int, unix.Errno) {
	if d.flags&unix.O_NONBLOCK != 0 {
		if n, e := kernel.RecvBriefly(d.fd, v, uintptr(flags|d.now())); e != unix.EINTR {
			d.received(int(n))
			return int(n), e
		}
	}
	for {
		n, e := kernel.Recv(d.fd, v, flags|d.now())
		d.received(n)
		if e != unix.EAGAIN || !d.inherited || d.flags&unix.O_NONBLOCK != 0 {
			return n, e
		}
		kernel.Wait(d.fd, unix.POLLIN)
	}
}

// received notes that the guest may have something to answer.
func (d *Descriptor) received(n int) {
	if n > 0 {
		d.writes = 0
	}
}

// Send sends, to an address unless that is nil.
func (d *Descriptor) Send(v []unix.Iovec, to *Address) (int, unix.Errno) {
	if e := d.socket(); e != 0 {
		return 0, e
	}
	d.writes = 0
	if len(v) == 1 && to == nil {
		return d.send(&v[0])
	}
	var s kernel.Sockaddr
	var name *kernel.Sockaddr
	if to != nil {
		to.encode(&s)
		name = &s
	}
	for {
		n, e := kernel.Sendmsg(d.fd, v, name, d.now())
		if e == unix.EAGAIN && d.inherited && d.flags&unix.O_NONBLOCK == 0 {
			kernel.Wait(d.fd, unix.POLLOUT)
			continue
		}
		return n, e
	}
}

// send is Send for most calls of most guests.
func (d *Descriptor) send(v *unix.Iovec) (int, unix.Errno) {
	if d.flags&unix.O_NONBLOCK != 0 {
		if n, e := kernel.SendBriefly(d.fd, v, uintptr(d.now()|unix.MSG_NOSIGNAL)); e != unix.EINTR {
			return int(n), e
		}
	}
	for {
		n, e := kernel.Send(d.fd, v, d.now())
		if e != unix.EAGAIN || !d.inherited || d.flags&unix.O_NONBLOCK != 0 {
			return n, e
		}
		kernel.Wait(d.fd, unix.POLLOUT)
	}
}

// now is the guest's O_NONBLOCK where the kernel does not know of it.
func (d *Descriptor) now() int {
	if d.inherited && d.flags&unix.O_NONBLOCK != 0 {
		return unix.MSG_DONTWAIT
	}
	return 0
}

// Shutdown is shutdown(2).
func (d *Descriptor) Shutdown(how int) unix.Errno {
	if e := d.socket(); e != 0 {
		return e
	}
	d.writes = 0
	return kernel.Shutdown(d.fd, how)
}

// Local is the address that the socket is bound to.
func (d *Descriptor) Local(a *Address) unix.Errno {
	if e := d.socket(); e != 0 {
		return e
	}
	var s kernel.Sockaddr
	if e := kernel.Getsockname(d.fd, &s); e != 0 {
		return e
	}
	a.decode(&s)
	return 0
}

// Peer is the address of the other side; of an accepted connection, even when
// that has gone already.
func (d *Descriptor) Peer(a *Address) unix.Errno {
	if e := d.socket(); e != 0 {
		return e
	}
	var s kernel.Sockaddr
	e := kernel.Getpeername(d.fd, &s)
	if e == unix.ENOTCONN && d.peerSize > 0 {
		s.N = uint32(copy(raw(&s), d.peer[:d.peerSize]))
		e = 0
	}
	if e != 0 {
		return e
	}
	a.decode(&s)
	return 0
}

// Option reads a socket option.
func (d *Descriptor) Option(level, name int, b []byte) (int, unix.Errno) {
	if e := d.socket(); e != 0 {
		return 0, e
	}
	return kernel.Getsockopt(d.fd, level, name, b)
}

// SetOption sets a socket option.
func (d *Descriptor) SetOption(level, name int, b []byte) unix.Errno {
	if e := d.socket(); e != 0 {
		return e
	}
	return kernel.Setsockopt(d.fd, level, name, b)
}

// Waiting is how many bytes can be read at once, as far as the kernel can tell.
func (d *Descriptor) Waiting() (int, bool) {
	if d.fd < 0 {
		return 0, true
	}
	if d.Type == RegularFile || d.Type == Directory {
		return 0, false
	}
	n, e := kernel.Readable(d.fd)
	return n, e == 0
}
