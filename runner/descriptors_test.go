package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// The runner's own init does this; a test's must for what is in its name.
func init() {
	switch os.Getenv("RUNNER_TEST_MODE") {
	case "guest", "separate":
		runtime.LockOSThread()
	}
}

// listening starts a guest with a listener, which is its descriptor 3.
func listening(t *testing.T, binary []byte, stdin *os.File) (_ *process, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	p, err := startGuest(t, binary, oci.Workload{Listeners: []string{address}}, stdin, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := control.SendStart(p.shim); err != nil {
		t.Fatal(err)
	}
	// The runner's end closes when the guest is about to run.
	_ = p.shim.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := p.shim.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the socket of a running guest gives %v, want EOF", err)
	}
	return p, address
}

// open is what a thread of a process has open, by what it is.
func (p *process) open(thread string) []string {
	p.t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "task", thread, "fd")
	fds, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	var all []string
	for _, fd := range fds {
		if target, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil {
			all = append(all, target)
		}
	}
	return all
}

func (p *process) threads() []string {
	p.t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	var all []string
	for _, task := range tasks {
		all = append(all, task.Name())
	}
	return all
}

func TestTheGuestsDescriptorsAreOfTheMainThreadAlone(t *testing.T) {
	stdin, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, _ := listening(t, readForever(), stdin)
	main := strconv.Itoa(p.cmd.Process.Pid)
	sockets := func(thread string) (n int) {
		for _, target := range p.open(thread) {
			if strings.HasPrefix(target, "socket:") {
				n++
			}
		}
		return n
	}
	if n := sockets(main); n != 1 {
		t.Errorf("the main thread has %d sockets, want its listener: %q", n, p.open(main))
	}
	threads := p.threads()
	if len(threads) < 2 {
		t.Fatalf("the threads are %q", threads)
	}
	for _, thread := range threads {
		open := p.open(thread)
		if thread != main && sockets(thread) != 0 {
			t.Errorf("thread %s has sockets: %q", thread, open)
		}
		// Standard streams are everybody's, for the last words of Go's runtime.
		if !slices.ContainsFunc(open, func(target string) bool { return strings.HasPrefix(target, "pipe:") }) {
			t.Errorf("thread %s has no standard streams: %q", thread, open)
		}
	}
}

func TestWhatTheGuestClosesIsClosed(t *testing.T) {
	stdin, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	m := &imports{}
	closes, read := m.function("fd_close", 1), m.function("fd_read", 4)
	m.Memory(1)
	m.Data(16, wasmtest.Iovec(64, 16))
	m.Export("memory", wasmtest.KindMemory, 0)
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), slices.Concat(
		call(closes, 3), wasmtest.Drop, wasmtest.Loop(wasmtest.Write(read, 0), wasmtest.Drop))))
	p, address := listening(t, m.Bytes(), stdin)
	refused := func() bool {
		// One that nobody accepts may have to wait.
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, unix.ECONNREFUSED)
	}
	for deadline := time.Now().Add(20 * time.Second); !refused(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("who connects to a closed listener is not refused")
		}
	}
	if err := p.cmd.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the guest does not go on: %v", err)
	}
}

// separateAndCollect is a process that does on a thread with a table of its own
// what makes Go's runtime poll there, and elsewhere. Its poller must be in both.
func separateAndCollect() int {
	runtime.LockOSThread()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 1
	}
	separate([]int{ends[0]})
	// Numbers that the other threads use for something else.
	for range 20 {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return 2
		}
	}
	for range 20 {
		runtime.GC()
		done := make(chan struct{})
		go func() {
			time.Sleep(time.Millisecond)
			runtime.GC()
			close(done)
		}()
		time.Sleep(time.Millisecond)
		<-done
	}
	if _, err := unix.FcntlInt(uintptr(ends[0]), unix.F_GETFD, 0); err != nil {
		return 3
	}
	gone := make(chan error)
	go func() {
		_, err := unix.FcntlInt(uintptr(ends[0]), unix.F_GETFD, 0)
		gone <- err
	}()
	if <-gone != unix.EBADF {
		return 4
	}
	return 0
}

func TestGoRunsOnWithTwoTables(t *testing.T) {
	p := startProcess(t, "separate", bytes.NewReader(nil), nil, memfd(t, nil), memfd(t, nil), nil)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d, stderr %q", code, &p.stderr)
	}
}
