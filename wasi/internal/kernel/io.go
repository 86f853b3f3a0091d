package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Readv is readv(2).
func Readv(fd int, v []unix.Iovec) (int, unix.Errno) {
	if len(v) == 1 {
		return single(unix.SYS_READ, fd, &v[0], 0)
	}
	return vector(unix.SYS_READV, fd, v, 0, 0)
}

// Writev is writev(2).
func Writev(fd int, v []unix.Iovec) (int, unix.Errno) {
	if len(v) == 1 {
		return single(unix.SYS_WRITE, fd, &v[0], 0)
	}
	return vector(unix.SYS_WRITEV, fd, v, 0, 0)
}

// Preadv is preadv(2).
func Preadv(fd int, v []unix.Iovec, offset int64) (int, unix.Errno) {
	if len(v) == 1 {
		return single(unix.SYS_PREAD64, fd, &v[0], uintptr(offset))
	}
	return vector(unix.SYS_PREADV, fd, v, offset, 0)
}

// Pwritev is pwritev(2).
func Pwritev(fd int, v []unix.Iovec, offset int64) (int, unix.Errno) {
	if len(v) == 1 {
		return single(unix.SYS_PWRITE64, fd, &v[0], uintptr(offset))
	}
	return vector(unix.SYS_PWRITEV, fd, v, offset, 0)
}

// current is the offset with which preadv2 and pwritev2 use the file's own.
const current = -1

// ReadvFlags is readv with flags RWF_* (preadv2(2)).
func ReadvFlags(fd int, v []unix.Iovec, flags int) (int, unix.Errno) {
	return vector(unix.SYS_PREADV2, fd, v, current, flags)
}

// WritevFlags is writev with flags RWF_* (pwritev2(2)).
func WritevFlags(fd int, v []unix.Iovec, flags int) (int, unix.Errno) {
	return vector(unix.SYS_PWRITEV2, fd, v, current, flags)
}

// PwritevFlags is pwritev with flags RWF_* (pwritev2(2)).
func PwritevFlags(fd int, v []unix.Iovec, offset int64, flags int) (int, unix.Errno) {
	return vector(unix.SYS_PWRITEV2, fd, v, offset, flags)
}

// single is the form for one vector, which most guests pass, without the copy
// that the kernel makes of an array of them. It passes one more argument.
func single(trap uintptr, fd int, v *unix.Iovec, last uintptr) (int, unix.Errno) {
	for {
		n, _, e := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len), last, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), 0
	}
}

// vector passes the offset as the low of two registers: 64-bit kernels ignore
// the other.
func vector(trap uintptr, fd int, v []unix.Iovec, offset int64, flags int) (int, unix.Errno) {
	for {
		n, _, e := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)), uintptr(offset), 0, uintptr(flags))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), 0
	}
}

// Ppoll is ppoll(2) without a signal mask; a nil timeout waits for ever. It
// returns EINTR.
func Ppoll(fds []unix.PollFd, timeout *unix.Timespec) (int, unix.Errno) {
	n, _, e := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)), uintptr(unsafe.Pointer(timeout)), 0, 0, 0)
	return int(n), e
}

// Wait waits until a descriptor is ready for events or has failed.
func Wait(fd int, events int16) {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		if _, e := Ppoll(fds[:], nil); e != unix.EINTR {
			return
		}
	}
}

// Ready tells whether a descriptor is ready for events or has failed.
func Ready(fd int, events int16) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	n, _ := Ppoll(fds[:], &unix.Timespec{})
	return n > 0
}

// Random fills b with random bytes from the kernel.
func Random(b []byte) unix.Errno {
	for len(b) > 0 {
		n, err := unix.Getrandom(b, 0)
		if e, _ := err.(unix.Errno); e != 0 && e != unix.EINTR {
			return e
		}
		b = b[max(n, 0):]
	}
	return 0
}

// Yield is sched_yield(2).
func Yield() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
