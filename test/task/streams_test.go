package task

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// chunk is what flood and pour write at a time.
const chunk = 32 << 10

// pour is a guest that writes so many chunks to stdout, or for ever with 0.
func pour(chunks int) []byte {
	m := &wasmtest.Module{}
	write := m.ImportFunc("wasi_snapshot_preview1", "fd_write", m.Type([]byte{wasmtest.I32, wasmtest.I32, wasmtest.I32, wasmtest.I32}, []byte{wasmtest.I32}))
	once := bytes.Join([][]byte{wasmtest.Write(write, 1), wasmtest.Drop}, nil)
	body := bytes.Repeat(once, chunks)
	if chunks == 0 {
		body = wasmtest.Loop(once)
	}
	start := m.Func(m.Type(nil, nil), body)
	m.Memory(1)
	m.Data(16, wasmtest.Iovec(1024, chunk))
	m.Data(1024, bytes.Repeat([]byte("x"), chunk))
	m.Export("memory", wasmtest.KindMemory, 0)
	m.Export("_start", wasmtest.KindFunc, start)
	return m.Bytes()
}

// read is a guest that reads stdin once and ends.
func read() []byte {
	m := &wasmtest.Module{}
	read := m.ImportFunc("wasi_snapshot_preview1", "fd_read", m.Type([]byte{wasmtest.I32, wasmtest.I32, wasmtest.I32, wasmtest.I32}, []byte{wasmtest.I32}))
	start := m.Func(m.Type(nil, nil), wasmtest.Write(read, 0), wasmtest.Drop)
	m.Memory(1)
	m.Data(16, wasmtest.Iovec(1024, 1024))
	m.Export("memory", wasmtest.KindMemory, 0)
	m.Export("_start", wasmtest.KindFunc, start)
	return m.Bytes()
}

// createRequest makes the task with streams.
func (s *shim) createRequest(ctx context.Context, r *taskapi.CreateTaskRequest) error {
	r.Bundle = filepath.Join(s.d.dir, r.ID)
	_, err := s.Create(ctx, r)
	return err
}

func (s *shim) mustCreateRequest(r *taskapi.CreateTaskRequest) {
	s.d.t.Helper()
	if err := s.createRequest(context.Background(), r); err != nil {
		s.d.t.Fatal(err)
	}
}

// finish kills a container, if it has not ended, and deletes it.
func (s *shim) finish(id string, want uint32) {
	s.d.t.Helper()
	if want > 128 {
		if err := s.kill(id, unix.Signal(want-128)); err != nil {
			s.d.t.Error(err)
		}
	}
	if status := s.wait(id); status != want {
		s.d.t.Errorf("exit status %d, want %d", status, want)
	}
	if _, err := s.delete(id); err != nil {
		s.d.t.Errorf("delete: %v", err)
	}
}

// mkfifo makes a FIFO beside the bundles.
func (d *daemon) mkfifo(name string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// blocked waits until the process does not run: it waits for its reader.
func blocked(t *testing.T, pid uint32) {
	t.Helper()
	for still := 0; still < 5; time.Sleep(20 * time.Millisecond) {
		before := cpuTime(t, pid)
		time.Sleep(20 * time.Millisecond) // no event tells that nothing happens
		if cpuTime(t, pid) == before {
			still++
		}
	}
}

// The reader opens the FIFO, reads a little, and is gone or reads no more.
func TestAGuestWhoseReaderIsGoneOrSleepsCanBeEnded(t *testing.T) {
	for _, gone := range []bool{true, false} {
		t.Run(fmt.Sprint("gone ", gone), func(t *testing.T) {
			d := newDaemon(t)
			d.bundle("a", pour(0), nil)
			s := d.start("a")
			out := d.mkfifo("out")
			opened := make(chan *os.File, 1)
			go func() {
				r, err := os.Open(out)
				if err != nil {
					t.Error(err)
				}
				opened <- r
			}()
			s.mustCreateRequest(&taskapi.CreateTaskRequest{ID: "a", Stdout: out})
			s.mustStart("a")
			r := <-opened
			if _, err := io.ReadFull(r, make([]byte, chunk)); err != nil {
				t.Error(err)
			}
			if gone {
				r.Close()
			} else {
				defer r.Close()
			}
			resp, err := s.State(context.Background(), &taskapi.StateRequest{ID: "a"})
			if err != nil {
				t.Fatal(err)
			}
			blocked(t, resp.Pid)
			s.finish("a", 143)
			d.assertNothingLeft()
		})
	}
}

func TestAGuestWhoseWriterNeverComesOrDiesWithoutAByte(t *testing.T) {
	d := newDaemon(t)
	in := d.mkfifo("in")
	d.bundle("never", read(), nil)
	s := d.start("never")
	s.mustCreateRequest(&taskapi.CreateTaskRequest{ID: "never", Stdin: in})
	s.mustStart("never")
	s.finish("never", 143)

	d.bundle("dies", read(), nil)
	s.mustCreateRequest(&taskapi.CreateTaskRequest{ID: "dies", Stdin: in})
	s.mustStart("dies")
	w, err := os.OpenFile(in, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close() // as the kernel does for a killed client
	s.finish("dies", 0)
	d.assertNothingLeft()
}

// logBinary writes a logging binary in shell, and its URI. It has stdout and
// stderr on 3 and 4 and closes 5 when it is ready.
func (d *daemon) logBinary(script string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, "logger")
	if err := os.WriteFile(path, []byte("#!/bin/sh\ncd "+d.dir+"\necho $$ > logger.pid\n"+script), 0o755); err != nil {
		d.t.Fatal(err)
	}
	return "binary://" + path
}

// loggerEnded fails the test when the logger runs still.
func (d *daemon) loggerEnded() {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, "logger.pid"))
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(b))); err == nil {
		d.t.Errorf("the logger, process %s, is left", b)
	}
}

const catLogger = "exec 5>&-\ncat <&4 >err & cat <&3 >out; wait\necho $CONTAINER_NAMESPACE $CONTAINER_ID >id\n"

func TestALoggerGetsEveryByteBeforeDeleteReturns(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprint("terminal ", terminal), func(t *testing.T) {
			d := newDaemon(t)
			const chunks = 40
			d.bundle("a", pour(chunks), func(s *specs.Spec) { s.Process.Terminal = terminal })
			s := d.start("a")
			uri := d.logBinary(catLogger)
			s.mustCreateRequest(&taskapi.CreateTaskRequest{ID: "a", Stdout: uri, Stderr: uri, Terminal: terminal})
			s.mustStart("a")
			s.finish("a", 0)
			if fi, err := os.Stat(filepath.Join(d.dir, "out")); err != nil || fi.Size() != chunks*chunk {
				t.Errorf("the logger got %v of %d bytes: %v", fi.Size(), chunks*chunk, err)
			}
			if b, err := os.ReadFile(filepath.Join(d.dir, "id")); err != nil || string(b) != namespace+" a\n" {
				t.Errorf("the logger was told of %q: %v", b, err)
			}
			d.loggerEnded()
			d.assertNothingLeft()
		})
	}
}

func TestALoggerThatIsNeverReadyIsWaitedForAsLongAsTheCall(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.bundle("keep", spin(), nil)
	s := d.start("keep")
	d.bundle("a", spin(), nil)
	// The shim is told of a deadline, not of a call that is cancelled.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	uri := d.logBinary("exec sleep 600\n")
	if err := s.createRequest(ctx, &taskapi.CreateTaskRequest{ID: "a", Stdout: uri}); err == nil {
		t.Error("Create succeeded")
	}
	// The client's call ends before the shim's does.
	within(t, "the container is removed", func() bool {
		_, err := os.Stat(filepath.Join(d.dir, "a", "wasm.json"))
		return err != nil
	})
	d.loggerEnded()
	d.assertNothingLeft()
}

// A guest whose logger has died goes on with errors on its output.
func TestALoggerThatDiesDoesNotStopItsGuest(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", pour(40), nil)
	s := d.start("a")
	s.mustCreateRequest(&taskapi.CreateTaskRequest{ID: "a", Stdout: d.logBinary("exec 5>&-\nread x <&3\n")})
	b, err := os.ReadFile(filepath.Join(d.dir, "logger.pid"))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	killAndWait(t, pid)
	s.mustStart("a")
	s.finish("a", 0)
	d.assertNothingLeft()
}

func TestALoggerThatCannotStart(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	for uri, says := range map[string]string{
		"binary:///no/such/logger": "no such file",
		strings.Replace(d.logBinary("exit 3\n"), "binary:", "binary-v2:", 1): "before it said that it is ready",
	} {
		err := s.createRequest(context.Background(), &taskapi.CreateTaskRequest{ID: "a", Stdout: uri})
		if err == nil {
			t.Fatalf("%s: created", uri)
		}
		assertSentence(t, err, says)
	}
	d.assertNothingLeft()
}

func TestATerminalsOutputGoesToAFile(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", wasmtest.Print("one\ntwo\n"), func(s *specs.Spec) { s.Process.Terminal = true })
	s := d.start("a")
	path := filepath.Join(d.dir, "logs", "a")
	s.mustCreateRequest(&taskapi.CreateTaskRequest{ID: "a", Stdout: "file://" + path, Terminal: true})
	s.mustStart("a")
	s.finish("a", 0)
	if b, err := os.ReadFile(path); err != nil || string(b) != "one\r\ntwo\r\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// A daemon that has given up on a Create says so by a Delete.
func TestDeleteDuringACreateEndsIt(t *testing.T) {
	d := newDaemon(t)
	d.bundle("keep", spin(), nil)
	s := d.start("keep")
	d.bundle("a", spin(), nil)
	out := d.mkfifo("out") // whose reader never comes
	created := make(chan error, 1)
	go func() {
		created <- s.createRequest(context.Background(), &taskapi.CreateTaskRequest{ID: "a", Stdout: out})
	}()
	within(t, "the container has begun", func() bool {
		_, err := os.Stat(filepath.Join(d.dir, "a", "wasm.json"))
		return err == nil
	})
	if _, err := s.delete("a"); !errdefs.IsNotFound(errgrpc.ToNative(err)) {
		t.Errorf("delete: %v", err)
	}
	d.assertNothingLeft() // when Delete has answered
	if err := <-created; err == nil {
		t.Error("Create succeeded")
	} else {
		assertSentence(t, err, "was deleted while it was created")
	}
	s.mustCreate("a")
	if _, err := s.delete("a"); err != nil {
		t.Error(err)
	}
}

// Whenever the Delete comes, before or after the end of the Create, nothing of
// the container is left, and the shim can end.
func TestDeleteAtMomentsOfACreate(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	fd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for delay := time.Duration(0); delay <= 40*time.Millisecond; delay += 2 * time.Millisecond {
		created := make(chan error, 1)
		go func() {
			_, err := s.create("a")
			created <- err
		}()
		time.Sleep(delay) // the moment is the input of this test
		_, deleteErr := s.delete("a")
		if err := <-created; err == nil && deleteErr != nil {
			// The Delete came before the Create.
			if _, err := s.delete("a"); err != nil {
				t.Errorf("after %v: %v, then %v", delay, deleteErr, err)
			}
		}
		d.assertNothingLeft()
	}
	_, _ = s.Shutdown(context.Background(), &taskapi.ShutdownRequest{ID: "a"})
	waitEnd(t, fd)
}
