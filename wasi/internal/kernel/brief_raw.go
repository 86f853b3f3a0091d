//go:build amd64 || arm64

package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// RawSyscallNoError is one function where RawSyscall is two. It returns what the
// kernel does, and on these processors that is an error's negative number.

// ReadBriefly is read(2) into one vector.
func ReadBriefly(fd int, v *unix.Iovec) (n uintptr, e unix.Errno) {
	n, _ = unix.RawSyscallNoError(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len))
	if int(n) < 0 {
		e = unix.Errno(-n)
	}
	return
}

// WriteBriefly is write(2) of one vector.
func WriteBriefly(fd int, v *unix.Iovec) (n uintptr, e unix.Errno) {
	n, _ = unix.RawSyscallNoError(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len))
	if int(n) < 0 {
		e = unix.Errno(-n)
	}
	return
}
