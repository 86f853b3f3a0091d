package osthread

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAThreadThatIsNotCleanEnds(t *testing.T) {
	var tid int
	Run(func() bool { tid = unix.Gettid(); return false })
	if tid == os.Getpid() {
		t.Error("ran on the main thread")
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := os.Stat(filepath.Join("/proc/self/task", strconv.Itoa(tid))); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("thread %d is there still", tid)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestNeverOnTheMainThread(t *testing.T) {
	var running sync.WaitGroup
	for range 200 {
		running.Go(func() {
			Run(func() bool {
				if unix.Gettid() == os.Getpid() {
					t.Error("ran on the main thread")
				}
				return true
			})
		})
	}
	running.Wait()
}
