package runner

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// separate gives the calling thread a table of descriptors of its own. The other
// threads close in theirs those that are named, of which there is at least one: so
// what this thread closes from then on is closed. The kernel spares a table of one
// thread the counting of every use of a descriptor, and a file that is in one table
// the lock of its position.
//
// The caller's goroutine must have locked the thread: new ones are then made by
// another, with the common table, and no other goroutine ever runs on this one.
// And it must be the main thread, whose table is the one that /proc shows; any
// other keeps the common one. So it does where a profile forbids close_range(2),
// which can do this since Linux 5.9. unshare(2) always could, but profiles for
// containers forbid it.
func separate(named []int) {
	if unix.Gettid() != unix.Getpid() {
		return
	}
	// Go's poller is for all threads, and whichever needs it first opens it. A timer
	// needs it.
	time.AfterFunc(time.Hour, func() {}).Stop()
	probe, err := unix.FcntlInt(uintptr(named[0]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return
	}
	err = unix.CloseRange(math.MaxUint32, math.MaxUint32, unix.CLOSE_RANGE_UNSHARE)
	_ = unix.Close(probe)
	if err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A profile may have let the call succeed without an effect. Then what this
		// thread has closed is closed here.
		if _, err := unix.FcntlInt(uintptr(probe), unix.F_GETFD, 0); err != nil {
			return
		}
		for _, fd := range named {
			_ = unix.Close(fd)
		}
		_ = unix.Close(probe)
	}()
	<-done
}
