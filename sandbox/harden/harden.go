//go:build amd64 || arm64

package harden

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Harden confines every thread of the process, for good, and sets no_new_privs.
// It is to be called when nothing is left to be compiled, mapped for execution
// or started: neither code nor processes can be made afterwards.
//
// A call that is not allowed gives EPERM, or ENOSYS where it is newer than the
// filter, and is without effect; one by the ABI of another architecture ends the
// process with SIGSYS. Harden fails when the profile of the container's spec
// keeps it from prctl(2) or seccomp(2); the process is then as it was, but for
// no_new_privs.
func Harden() error {
	// no_new_privs belongs to threads; seccomp(2) copies it from this one to
	// the others together with the filter.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("harden the process: set no_new_privs: %w", err)
	}
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// SPEC_ALLOW: before Linux 5.16 a filter would otherwise turn on mitigations
	// for native code that attacks itself, at a tenth of its speed.
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	thread, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&p)))
	switch {
	case e != 0:
		return fmt.Errorf("harden the process: load the filter: %w", e)
	case thread != 0:
		return fmt.Errorf("harden the process: thread %d has filters of its own", thread)
	}
	return nil
}
