package kernel

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the Go scheduler is not told, because it takes no longer than computing: to
// tell it costs 50 ns, and its monitor takes calls that are interrupted by other
// processes for long ones and moves the guest's processor between threads. A call
// that waits without its knowledge for 10 ms is sent a signal.
//
// Each of these calls is made once, and may return EINTR; its number counts
// without an error only. Vectors lie outside of Go's memory.
//
// They are made for inlining. What returns after a system call is not foreseen by
// the processor: a kernel with mitigations for speculation leaves it nothing to go
// by, so that each function between the call and the engine costs 5 to 6 ns. So
// they use package syscall, to which golang.org/x/sys/unix adds a function; read
// and write, which have three arguments, are a function less (brief_raw.go).

// PreadBriefly is pread(2) into one vector.
func PreadBriefly(fd int, v *unix.Iovec, offset uintptr) (n uintptr, e unix.Errno) {
	n, _, e = syscall.RawSyscall6(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len), offset, 0, 0)
	return
}

// PwriteBriefly is pwrite(2) of one vector.
func PwriteBriefly(fd int, v *unix.Iovec, offset uintptr) (n uintptr, e unix.Errno) {
	n, _, e = syscall.RawSyscall6(unix.SYS_PWRITE64, uintptr(fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len), offset, 0, 0)
	return
}

// RecvBriefly is recv(2) into one vector, from a socket that does not block.
func RecvBriefly(fd int, v *unix.Iovec, flags uintptr) (n uintptr, e unix.Errno) {
	n, _, e = syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len), flags, 0, 0)
	return
}

// SendBriefly is send(2) of one vector, to a socket that does not block; the flags
// must have MSG_NOSIGNAL.
func SendBriefly(fd int, v *unix.Iovec, flags uintptr) (n uintptr, e unix.Errno) {
	n, _, e = syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len), flags, 0, 0)
	return
}

// PpollBriefly is Ppoll for a short time.
func PpollBriefly(fds []unix.PollFd, timeout *unix.Timespec) (n uintptr, e unix.Errno) {
	n, _, e = syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)), uintptr(unsafe.Pointer(timeout)), 0, 0, 0)
	return
}
