package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockaddr is a socket address in the kernel's form, of N bytes.
type Sockaddr struct {
	Raw unix.RawSockaddrAny
	N   uint32
}

// Socket is socket(2), closed on execve.
func Socket(family, kind, protocol int) (int, unix.Errno) {
	fd, _, e := unix.Syscall(unix.SYS_SOCKET, uintptr(family), uintptr(kind|unix.SOCK_CLOEXEC), uintptr(protocol))
	return int(fd), e
}

// Bind is bind(2).
func Bind(fd int, a *Sockaddr) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&a.Raw)), uintptr(a.N))
	return e
}

// Listen is listen(2).
func Listen(fd, backlog int) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_LISTEN, uintptr(fd), uintptr(backlog), 0)
	return e
}

// Connect is connect(2). It returns EINTR, after which the connection goes on
// being made.
func Connect(fd int, a *Sockaddr) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&a.Raw)), uintptr(a.N))
	return e
}

// Accept is accept4(2), closed on execve; the peer is stored in a.
func Accept(fd int, a *Sockaddr, flags int) (int, unix.Errno) {
	for {
		a.N = uint32(unsafe.Sizeof(a.Raw))
		nfd, _, e := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&a.Raw)), uintptr(unsafe.Pointer(&a.N)), uintptr(flags|unix.SOCK_CLOEXEC), 0, 0)
		// A peer that gave up while it was queued is nothing to its acceptor.
		if e == unix.EINTR || e == unix.ECONNABORTED {
			continue
		}
		return int(nfd), e
	}
}

// Getsockname is getsockname(2).
func Getsockname(fd int, a *Sockaddr) unix.Errno { return name(unix.SYS_GETSOCKNAME, fd, a) }

// Getpeername is getpeername(2).
func Getpeername(fd int, a *Sockaddr) unix.Errno { return name(unix.SYS_GETPEERNAME, fd, a) }

func name(trap uintptr, fd int, a *Sockaddr) unix.Errno {
	a.N = uint32(unsafe.Sizeof(a.Raw))
	_, _, e := unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&a.Raw)), uintptr(unsafe.Pointer(&a.N)))
	return e
}

// Shutdown is shutdown(2).
func Shutdown(fd, how int) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0)
	return e
}

// Recv is recv(2) into one vector, without the copies that the kernel makes of
// a message's header and vectors.
func Recv(fd int, v *unix.Iovec, flags int) (int, unix.Errno) {
	return single(unix.SYS_RECVFROM, fd, v, uintptr(flags))
}

// Send is send(2) of one vector, as Recv; it never raises SIGPIPE.
func Send(fd int, v *unix.Iovec, flags int) (int, unix.Errno) {
	return single(unix.SYS_SENDTO, fd, v, uintptr(flags|unix.MSG_NOSIGNAL))
}

// Recvmsg receives; a, unless nil, is set to the sender's address. The flags
// that it returns are those of the message.
func Recvmsg(fd int, v []unix.Iovec, a *Sockaddr, flags int) (n, got int, e unix.Errno) {
	for {
		m := message(v)
		if a != nil {
			m.Name, m.Namelen = (*byte)(unsafe.Pointer(&a.Raw)), uint32(unsafe.Sizeof(a.Raw))
		}
		r, _, e := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), uintptr(flags))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, 0, e
		}
		if a != nil {
			a.N = m.Namelen
		}
		return int(r), int(m.Flags), 0
	}
}

// Sendmsg sends, to a unless that is nil, and never raises SIGPIPE.
func Sendmsg(fd int, v []unix.Iovec, a *Sockaddr, flags int) (int, unix.Errno) {
	for {
		m := message(v)
		if a != nil {
			m.Name, m.Namelen = (*byte)(unsafe.Pointer(&a.Raw)), a.N
		}
		n, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), uintptr(flags|unix.MSG_NOSIGNAL))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), 0
	}
}

func message(v []unix.Iovec) unix.Msghdr {
	return unix.Msghdr{Iov: unsafe.SliceData(v), Iovlen: uint64(len(v))}
}

// Getsockopt reads an option into b and returns its size.
func Getsockopt(fd, level, option int, b []byte) (int, unix.Errno) {
	n := uint32(len(b))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(pointer(b)), uintptr(unsafe.Pointer(&n)), 0)
	return int(n), e
}

// Setsockopt sets an option.
func Setsockopt(fd, level, option int, b []byte) unix.Errno {
	_, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(pointer(b)), uintptr(len(b)), 0)
	return e
}

// GetsockoptInt reads an option that is a number.
func GetsockoptInt(fd, level, option int) (int32, unix.Errno) {
	var v int32
	b := unsafe.Slice((*byte)(unsafe.Pointer(&v)), 4)
	_, e := Getsockopt(fd, level, option, b)
	return v, e
}

// SetsockoptInt sets an option that is a number.
func SetsockoptInt(fd, level, option int, v int32) unix.Errno {
	return Setsockopt(fd, level, option, unsafe.Slice((*byte)(unsafe.Pointer(&v)), 4))
}
