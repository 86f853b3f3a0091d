package preview1

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
)

// Address families and socket types of WasmEdge.
const (
	familyUnspec = 0
	familyInet4  = 1
	familyInet6  = 2
	familyUnix   = 3

	kindAny    = 0
	kindDgram  = 1
	kindStream = 2
)

// Flags of receiving and shutting down (witx: riflags, roflags, sdflags).
const (
	recvPeek    = 1
	recvWaitall = 2

	recvTruncated = 1

	shutRead  = 1
	shutWrite = 2
)

// socket returns a descriptor that is a socket.
func (h *Host) socket(slot uint64) (*descriptor.Descriptor, Errno) {
	d := h.fd(slot)
	switch {
	case d == nil:
		return nil, errBadf
	case !d.IsSocket():
		return nil, errNotsock
	}
	return d, success
}

// sock_open(family, type, fd*)
func sockOpen(h *Host, s []uint64) Errno {
	var family, kind int
	switch uint32(s[0]) {
	case familyInet4:
		family = unix.AF_INET
	case familyInet6:
		family = unix.AF_INET6
	case familyUnix:
		return errNosys
	default:
		return errInval
	}
	switch uint32(s[1]) {
	case kindDgram:
		kind = unix.SOCK_DGRAM
	case kindStream:
		kind = unix.SOCK_STREAM
	default:
		return errInval
	}
	if !h.fits(s[2], 4) {
		return errFault
	}
	d, n, e := h.Descriptors.OpenSocket(family, kind)
	if e != 0 {
		return errno(e)
	}
	Grant(d)
	return h.put32(s[2], n)
}

// sock_bind(fd, addr*, port)
func sockBind(h *Host, s []uint64) Errno {
	d, e := h.socket(s[0])
	if e != success {
		return e
	}
	var a descriptor.Address
	if e := h.address(&a, s[1], s[2]); e != success {
		return e
	}
	return errno(d.Bind(&a))
}

// sock_listen(fd, backlog)
func sockListen(h *Host, s []uint64) Errno {
	d, e := h.socket(s[0])
	if e != success {
		return e
	}
	return errno(d.Listen(int(int32(s[1]))))
}

// sock_connect(fd, addr*, port)
func sockConnect(h *Host, s []uint64) Errno {
	d, e := h.socket(s[0])
	if e != success {
		return e
	}
	var a descriptor.Address
	if e := h.address(&a, s[1], s[2]); e != success {
		return e
	}
	if e := h.allowed(&a); e != success {
		return e
	}
	return errno(d.Connect(&a))
}

// sock_accept(fd, flags, fd*)
func sockAccept(h *Host, s []uint64) Errno {
	if uint32(s[1])&^fdNonblock != 0 {
		return errInval
	}
	return h.accept(s[0], uint32(s[1])&fdNonblock != 0, s[2])
}

// sock_accept(fd, fd*) of WasmEdge: the connection blocks.
func sockAcceptV1(h *Host, s []uint64) Errno { return h.accept(s[0], false, s[1]) }

func (h *Host) accept(slot uint64, nonblocking bool, result uint64) Errno {
	d, e := h.socket(slot)
	if e != success {
		return e
	}
	if !h.fits(result, 4) {
		return errFault
	}
	conn, n, err := h.Descriptors.AcceptSocket(d, nonblocking)
	if err != 0 {
		return errno(err)
	}
	Grant(conn)
	return h.put32(result, n)
}

// sock_recv(fd, iovs, iovs_len, flags, nread*, roflags*)
func sockRecv(h *Host, s []uint64) Errno {
	return h.receive(s[0], s[1], s[2], s[3], s[4], s[5], nil)
}

// receive stores the sender in from, unless that is nil.
func (h *Host) receive(slot, iovs, count, riflags, nread, roflags uint64, from *descriptor.Address) Errno {
	d, e := h.socket(slot)
	if e != success {
		return e
	}
	if uint32(riflags)&^(recvPeek|recvWaitall) != 0 {
		return errInval
	}
	v, e := h.vector(iovs, count)
	if e != success {
		return e
	}
	ro, ok := h.bytes(roflags, 2)
	if !ok || !h.fits(nread, 4) {
		return errFault
	}
	var flags int
	if riflags&recvPeek != 0 {
		flags |= unix.MSG_PEEK
	}
	if riflags&recvWaitall != 0 {
		flags |= unix.MSG_WAITALL
	}
	n, truncated, err := d.Recv(v, from, flags)
	if err != 0 {
		return errno(err)
	}
	binary.LittleEndian.PutUint16(ro, 0)
	if truncated {
		binary.LittleEndian.PutUint16(ro, recvTruncated)
	}
	return h.put32(nread, uint32(n))
}

// sock_recv_from(fd, iovs, iovs_len, addr*, flags, port*, nread*, roflags*)
func sockRecvFrom(h *Host, s []uint64) Errno {
	buf, e := h.addressBuffer(s[3])
	if e != success {
		return e
	}
	if !h.fits(s[5], 4) {
		return errFault
	}
	var from descriptor.Address
	if e := h.receive(s[0], s[1], s[2], s[4], s[6], s[7], &from); e != success {
		return e
	}
	switch {
	case len(buf) == storageSize:
		putStorage(buf, &from)
	case len(buf) >= from.Size:
		copy(buf, from.IP[:from.Size])
	}
	// WasmEdge stores two bytes of it in network order, and no guest swaps them.
	return h.put32(s[5], uint32(from.Port))
}

// sock_recv_from(fd, iovs, iovs_len, addr*, flags, nread*, roflags*) of older
// guests. They read an IPv4 sender from a buffer of 16 bytes as family 2, port
// and address, in little endian, though WasmEdge never wrote it so.
func sockRecvFromV1(h *Host, s []uint64) Errno {
	buf, e := h.addressBuffer(s[3])
	if e != success {
		return e
	}
	var from descriptor.Address
	if e := h.receive(s[0], s[1], s[2], s[4], s[5], s[6], &from); e != success {
		return e
	}
	switch {
	case len(buf) == storageSize:
		putStorage(buf, &from)
	case len(buf) == 16 && from.Size == 4:
		binary.LittleEndian.PutUint16(buf, 2)
		binary.LittleEndian.PutUint16(buf[2:], from.Port)
		copy(buf[4:], from.IP[:4])
	case len(buf) >= from.Size:
		copy(buf, from.IP[:from.Size])
	}
	return success
}

// sock_send(fd, ciovs, ciovs_len, flags, nwritten*)
func sockSend(h *Host, s []uint64) Errno {
	return h.send(s[0], s[1], s[2], s[3], s[4], nil)
}

// sock_send_to(fd, ciovs, ciovs_len, addr*, port, flags, nwritten*)
func sockSendTo(h *Host, s []uint64) Errno {
	var to descriptor.Address
	if _, e := h.socket(s[0]); e != success {
		return e
	}
	if e := h.address(&to, s[3], s[4]); e != success {
		return e
	}
	if e := h.allowed(&to); e != success {
		return e
	}
	return h.send(s[0], s[1], s[2], s[5], s[6], &to)
}

func (h *Host) send(slot, ciovs, count, siflags, nwritten uint64, to *descriptor.Address) Errno {
	d, e := h.socket(slot)
	if e != success {
		return e
	}
	if uint32(siflags) != 0 {
		return errInval
	}
	v, e := h.vector(ciovs, count)
	if e != success {
		return e
	}
	if !h.fits(nwritten, 4) {
		return errFault
	}
	n, err := d.Send(v, to)
	if err != 0 {
		return errno(err)
	}
	return h.put32(nwritten, uint32(n))
}

// sock_shutdown(fd, how)
func sockShutdown(h *Host, s []uint64) Errno {
	d, e := h.socket(s[0])
	if e != success {
		return e
	}
	how := [...]int{shutRead: unix.SHUT_RD, shutWrite: unix.SHUT_WR, shutRead | shutWrite: unix.SHUT_RDWR}
	i := uint32(s[1])
	if i == 0 || i >= uint32(len(how)) {
		return errInval
	}
	return errno(d.Shutdown(how[i]))
}
