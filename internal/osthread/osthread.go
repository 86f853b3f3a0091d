// Package osthread runs code that changes its operating system thread, by
// setns(2) for instance, such that nothing else ever runs on what it leaves.
package osthread

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Run calls f on a thread of its own and returns with it. The thread is used
// again only when f returns true: when it left the thread as it was. It is never
// the main thread, which could not be ended.
func Run(f func() (clean bool)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The runtime ends a thread whose goroutine returns locked; until then it
		// makes no other thread from this one.
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			Run(f) // on another one, since this one is locked
			runtime.UnlockOSThread()
			return
		}
		if f() {
			runtime.UnlockOSThread()
		}
	}()
	<-done
}
