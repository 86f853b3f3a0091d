package kernel

import (
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The Go runtime sends signals to its own threads. Linux does not restart a call
// on a socket that has a time limit.
func TestASignalDoesNotEndACall(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = Close(pair[0]), Close(pair[1]) }()
	if err := unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 3600}); err != nil {
		t.Fatal(err)
	}
	type result struct {
		n int
		e unix.Errno
	}
	thread, received := make(chan int), make(chan result)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		b := make([]byte, 8)
		n, _, e := Recvmsg(pair[0], []unix.Iovec{{Base: &b[0], Len: 8}}, nil, 0)
		received <- result{n, e}
	}()
	tid := <-thread
	for range 50 {
		if err := unix.Tgkill(os.Getpid(), tid, unix.SIGURG); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-received:
			t.Fatalf("the call ended: %+v", r)
		case <-time.After(time.Millisecond):
		}
	}
	if _, err := unix.Write(pair[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	if r := <-received; r.n != 1 || r.e != 0 {
		t.Errorf("got %+v", r)
	}
}
