package resolver

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// ask asks the servers in turn, as often as configured. It returns no addresses
// and ErrNotFound when a server says that there are none.
func (c *conf) ask(name string, kind uint16, deadline time.Time) ([]netip.Addr, error) {
	for range c.attempts {
		for _, server := range c.servers {
			until := time.Now().Add(c.timeout)
			if until.After(deadline) {
				until = deadline
			}
			if !time.Now().Before(until) {
				return nil, ErrTryAgain
			}
			a, ok := c.exchange(server, name, kind, until)
			if !ok {
				continue
			}
			switch {
			case len(a.addrs) > 0:
				return a.addrs, nil
			case a.rcode == rcodeNone || a.rcode == rcodeNotFound:
				return nil, ErrNotFound
			}
			// The server failed or refused; another may do better.
		}
	}
	return nil, ErrTryAgain
}

// exchange asks one server.
func (c *conf) exchange(server netip.Addr, name string, kind uint16, until time.Time) (answer, bool) {
	var id [2]byte
	_ = kernel.Random(id[:])
	number := binary.NativeEndian.Uint16(id[:])
	query := question(number, name, kind)
	if !c.tcp {
		a, ok := overUDP(server, c.port, query, until, func(b []byte) (answer, bool) {
			return parseAnswer(b, number, name, kind)
		})
		if !ok || !a.truncated {
			return a, ok
		}
	}
	b, ok := overTCP(server, c.port, query, until)
	if !ok {
		return answer{}, false
	}
	return parseAnswer(b, number, name, kind)
}

// overUDP sends a query until an answer to it comes: whatever else arrives on
// the socket is forged or late.
func overUDP(server netip.Addr, port uint16, query []byte, until time.Time, parse func([]byte) (answer, bool)) (answer, bool) {
	fd, ok := dial(server, port, unix.SOCK_DGRAM, until)
	if !ok {
		return answer{}, false
	}
	defer func() { _ = kernel.Close(fd) }()
	if n, e := kernel.Sendmsg(fd, iovec(query), nil, 0); e != 0 || n != len(query) {
		return answer{}, false
	}
	b := make([]byte, 4096)
	for wait(fd, unix.POLLIN, until) {
		n, _, e := kernel.Recvmsg(fd, iovec(b), nil, 0)
		if e != 0 && e != unix.EAGAIN {
			return answer{}, false // Such as ECONNREFUSED.
		}
		if a, ok := parse(b[:n]); ok {
			return a, true
		}
	}
	return answer{}, false
}

// overTCP sends a query with its length before it (RFC 1035, 4.2.2).
func overTCP(server netip.Addr, port uint16, query []byte, until time.Time) ([]byte, bool) {
	fd, ok := dial(server, port, unix.SOCK_STREAM, until)
	if !ok {
		return nil, false
	}
	defer func() { _ = kernel.Close(fd) }()
	message := append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	for len(message) > 0 {
		if !wait(fd, unix.POLLOUT, until) {
			return nil, false
		}
		n, e := kernel.Sendmsg(fd, iovec(message), nil, 0)
		if e != 0 && e != unix.EAGAIN {
			return nil, false
		}
		message = message[n:]
	}
	var size [2]byte
	if !readFull(fd, size[:], until) {
		return nil, false
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	return b, readFull(fd, b, until)
}

func readFull(fd int, b []byte, until time.Time) bool {
	for len(b) > 0 {
		if !wait(fd, unix.POLLIN, until) {
			return false
		}
		n, _, e := kernel.Recvmsg(fd, iovec(b), nil, 0)
		if e == unix.EAGAIN {
			continue
		}
		if e != 0 || n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// dial connects a socket that does not block.
func dial(server netip.Addr, port uint16, kind int, until time.Time) (int, bool) {
	family := unix.AF_INET
	if server.Is6() {
		family = unix.AF_INET6
	}
	fd, e := kernel.Socket(family, kind|unix.SOCK_NONBLOCK, 0)
	if e != 0 {
		return 0, false
	}
	address := descriptor.Address{Port: port}
	address.Size = copy(address.IP[:], server.AsSlice())
	s := address.Encode()
	e = kernel.Connect(fd, &s)
	if e == unix.EINPROGRESS || e == unix.EINTR {
		var failed int32 = -1
		if wait(fd, unix.POLLOUT, until) {
			failed, e = kernel.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		}
		if failed != 0 {
			e = unix.ECONNREFUSED
		}
	}
	if e != 0 {
		_ = kernel.Close(fd)
		return 0, false
	}
	return fd, true
}

// wait waits for events on a descriptor, and reports false after the deadline.
func wait(fd int, events int16, until time.Time) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		ts := unix.NsecToTimespec(max(int64(time.Until(until)), 0))
		n, e := kernel.Ppoll(fds, &ts)
		if e != unix.EINTR {
			return n > 0
		}
	}
}

func iovec(b []byte) []unix.Iovec {
	v := unix.Iovec{Len: uint64(len(b))}
	if len(b) > 0 {
		v.Base = &b[0]
	}
	return []unix.Iovec{v}
}
