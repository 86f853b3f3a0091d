package shim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func makeFifo(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openReader opens a FIFO like a daemon, without waiting for a writer.
func openReader(t *testing.T, path string) *os.File {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), path)
}

func TestOutputSurvivesADaemonThatGoesAway(t *testing.T) {
	out := makeFifo(t, "out")
	first := openReader(t, out)
	s, err := openStdio(context.Background(), "c", "", out, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := s.child[1].WriteString("one\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	n, err := first.Read(b)
	if err != nil || string(b[:n]) != "one\n" {
		t.Fatalf("read %q, %v", b[:n], err)
	}
	first.Close()
	// No reader is left but ours: no EPIPE, and the line stays.
	if _, err := s.child[1].WriteString("two\n"); err != nil {
		t.Fatal(err)
	}
	second := openReader(t, out)
	defer second.Close()
	s.started()
	rest, err := io.ReadAll(second)
	if err != nil || string(rest) != "two\n" {
		t.Errorf("read %q, %v", rest, err)
	}
}

// A client's own open for reading would hang if it came after the guest's end.
func TestOutputWaitsForItsReader(t *testing.T) {
	out := makeFifo(t, "out")
	opened := make(chan *os.File)
	go func() {
		f, err := os.OpenFile(out, os.O_RDONLY, 0) // waits for the writer
		if err != nil {
			t.Error(err)
		}
		opened <- f
	}()
	s, err := openStdio(context.Background(), "c", "", out, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	_, _ = s.child[1].WriteString("line\n")
	s.started()
	f := <-opened
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "line\n" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestAReaderThatNeverComesIsWaitedForAsLongAsTheCall(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	go cancel()
	if _, err := openStdio(ctx, "c", "", makeFifo(t, "out"), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOutputIsBlockingForTheGuest(t *testing.T) {
	out, errs := makeFifo(t, "out"), makeFifo(t, "err")
	defer openReader(t, out).Close()
	defer openReader(t, errs).Close()
	s, err := openStdio(context.Background(), "c", "", out, errs)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	defer s.started()
	for _, f := range s.child[1:] {
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
			if err != nil || flags&unix.O_NONBLOCK != 0 {
				t.Errorf("flags %#x, %v", flags, err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestInputEndsWithItsLastWriterWheneverCloseIOComes(t *testing.T) {
	const text = 100_000 // more than a pipe holds
	for name, end := range map[string]func(s *stdio, writer *os.File){
		"no CloseIO":       func(s *stdio, writer *os.File) { writer.Close() },
		"the writer first": func(s *stdio, writer *os.File) { writer.Close(); _ = s.closeInput() },
		"CloseIO first":    func(s *stdio, writer *os.File) { _ = s.closeInput(); writer.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			in := makeFifo(t, "in")
			s, err := openStdio(context.Background(), "c", in, "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			defer s.started()
			go func() {
				writer, err := os.OpenFile(in, os.O_WRONLY, 0)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = writer.Write(make([]byte, text))
				end(s, writer)
			}()
			if b, err := io.ReadAll(s.child[0]); err != nil || len(b) != text {
				t.Errorf("read %d bytes, %v", len(b), err)
			}
		})
	}
}

func TestCloseIOEndsAnInputWithoutAWriter(t *testing.T) {
	s, err := openStdio(context.Background(), "c", makeFifo(t, "in"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	defer s.started()
	if err := s.closeInput(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(s.child[0]); err != nil || len(b) != 0 {
		t.Errorf("read %d bytes, %v", len(b), err)
	}
}

func TestInputDoesNotEndBeforeItsWriterComes(t *testing.T) {
	in := makeFifo(t, "in")
	s, err := openStdio(context.Background(), "c", in, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	defer s.started()
	poll := []unix.PollFd{{Fd: int32(s.child[0].Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 20); n != 0 || err != nil {
		t.Errorf("stdin is ready without a writer: %d, %v, %#x", n, err, poll[0].Revents)
	}
}

// Go's scheduler sends signals to the threads of every Go program.
func TestSignalsDoNotEndTheInputBeforeItsWriterComes(t *testing.T) {
	f, err := openInputFifo(makeFifo(t, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Kill(os.Getpid(), unix.SIGURG)
			}
		}
	})
	defer sender.Wait()
	defer close(stop)
	for range 500 {
		if err := f.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if err := awaitWriter(f); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the input has ended without a writer: %v", err)
		}
	}
}

func TestOutputToALogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "log")
	s, err := openStdio(context.Background(), "c", "", "file://"+path, "file://"+path)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = s.child[1].WriteString("a\n")
	_, _ = s.child[2].WriteString("b\n")
	s.started()
	s.close()
	b, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(b, []byte("a\nb\n")) {
		t.Errorf("%q, %v", b, err)
	}
}

func TestUnknownOutputSchemeIsRefused(t *testing.T) {
	if _, err := openStdio(context.Background(), "c", "", "syslog://x", ""); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v", err)
	}
}
