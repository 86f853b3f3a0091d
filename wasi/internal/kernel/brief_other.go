//go:build !amd64 && !arm64

package kernel

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadBriefly is read(2) into one vector.
func ReadBriefly(fd int, v *unix.Iovec) (n uintptr, e unix.Errno) {
	n, _, e = syscall.RawSyscall6(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len), 0, 0, 0)
	return
}

// WriteBriefly is write(2) of one vector.
func WriteBriefly(fd int, v *unix.Iovec) (n uintptr, e unix.Errno) {
	n, _, e = syscall.RawSyscall6(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len), 0, 0, 0)
	return
}
