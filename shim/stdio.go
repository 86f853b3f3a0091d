package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/console"
	"github.com/containerd/errdefs"
	"github.com/containerd/fifo"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// stdio owns the standard streams of one process.
//
// The process writes into the FIFOs of containerd itself: no copy, no goroutine
// and no byte held in the shim. The shim keeps every output FIFO open for
// reading until the task is deleted, so that a daemon which is away costs the
// guest neither EPIPE nor the lines that it wrote meanwhile.
type stdio struct {
	// child is what the process inherits as 0, 1 and 2.
	child [3]*os.File
	// kept is open until close.
	kept []io.Closer
	// terminal is the shim's side of the pseudo-terminal, if there is one.
	terminal console.Console
	// copied is closed when all output of an ended process is with its reader;
	// nil where the process writes to the reader itself.
	copied chan struct{}

	// stdin is the path of the input FIFO, if there is one.
	stdin string
}

// openStdio opens what the paths or URIs of a CreateTaskRequest name. The
// caller calls started after the process has its copies, and close in the end.
func openStdio(ctx context.Context, id, stdin, stdout, stderr string) (_ *stdio, retErr error) {
	s := &stdio{}
	defer func() {
		if retErr != nil {
			s.started()
			s.close()
		}
	}()
	if err := s.openOutputs(ctx, id, stdout, stderr); err != nil {
		return nil, err
	}
	return s, s.openInput(stdin)
}

// openInput copies the FIFO to the guest through a pipe. The FIFO itself would
// not do: it reads as ended before its first writer has come. The guest's input
// ends when the last writer has closed; CloseIO is for clients that never come.
func (s *stdio) openInput(path string) error {
	if path == "" {
		var err error
		s.child[0], err = os.Open(os.DevNull)
		return err
	}
	in, err := openInputFifo(path)
	if err != nil {
		return err
	}
	s.stdin = path
	s.kept = append(s.kept, in)
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make stdin pipe: %w", err)
	}
	s.child[0] = r
	go func() {
		// Ends with the last writer, when the guest has closed its end, or when
		// close closes in.
		defer w.Close()
		defer in.Close()
		if awaitWriter(in) == nil {
			_, _ = io.Copy(w, in)
		}
	}()
	return nil
}

// openInputFifo opens a FIFO for reading and waits for nobody.
func openInputFifo(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// awaitWriter returns when the FIFO has or had a writer: until then poll(2) says
// nothing of it, while read(2) says that it has ended.
func awaitWriter(in *os.File) error {
	raw, err := in.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		for {
			// EINTR says nothing: neither that a writer has come nor that none has.
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			if err != unix.EINTR {
				return n != 0
			}
		}
	})
}

func (s *stdio) openOutputs(ctx context.Context, id, stdout, stderr string) (err error) {
	u, err := outputURI(stdout)
	if err != nil {
		return err
	}
	if u == nil {
		return s.openFifos(ctx, stdout, stderr)
	}
	s.child[1], s.child[2], err = s.openURI(ctx, id, u)
	return err
}

// outputURI parses what stdout of a request names, and is nil for a FIFO.
func outputURI(stdout string) (*url.URL, error) {
	u, err := url.Parse(stdout)
	if err != nil {
		return nil, nil // a path may hold anything
	}
	switch u.Scheme {
	case "", "fifo":
		return nil, nil
	case "file", "binary", "binary-v2":
		return u, nil
	}
	return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
		"stdout is %q, whose scheme %q is not known; use a FIFO's path, file:// or binary://", stdout, u.Scheme))
}

// openURI returns what takes stdout and stderr of a file:// or binary:// URI.
func (s *stdio) openURI(ctx context.Context, id string, u *url.URL) (stdout, stderr *os.File, _ error) {
	if u.Scheme == "file" {
		return openLogFile(u.Path)
	}
	l, outputs, err := startLogger(ctx, id, u)
	if err != nil {
		return nil, nil, err
	}
	s.kept = append(s.kept, l)
	return outputs[0], outputs[1], nil
}

func (s *stdio) openFifos(ctx context.Context, stdout, stderr string) error {
	for i, path := range []string{stdout, stderr} {
		w, keep, err := openOutput(ctx, path)
		if err != nil {
			return fmt.Errorf("open %s: %w", [...]string{"stdout", "stderr"}[i], err)
		}
		s.child[1+i] = w
		if keep != nil {
			s.kept = append(s.kept, keep)
		}
	}
	return nil
}

// openOutput opens a FIFO for the guest and once more for reading, or a plain
// file to append to. An empty path is /dev/null.
func openOutput(ctx context.Context, path string) (w, keep *os.File, err error) {
	if path == "" {
		w, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		return w, nil, err
	}
	isFifo, err := fifo.IsFifo(path)
	if err != nil {
		return nil, nil, err
	}
	if !isFifo {
		w, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		return w, nil, err
	}
	wfd, err := openForReader(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	kfd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(wfd)
		return nil, nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(wfd), path), os.NewFile(uintptr(kfd), path), nil
}

// openForReader opens a FIFO for writing when somebody has opened it for
// reading. The wait is needed: a client whose open for reading comes after the
// guest's end, with no writer left, would hang in it for ever.
//
// It does not use the os package, which would make the file non-blocking: the
// guest shares the file description.
func openForReader(ctx context.Context, path string) (int, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		if err := unix.SetNonblock(fd, false); err != nil {
			unix.Close(fd)
			return -1, &os.PathError{Op: "fcntl", Path: path, Err: err}
		}
		return fd, nil
	}
	if err != unix.ENXIO {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	type opened struct {
		fd  int
		err error
	}
	result := make(chan opened, 1)
	go func() {
		for {
			fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err == unix.EINTR {
				continue
			}
			result <- opened{fd, err}
			return
		}
	}()
	var o opened
	select {
	case o = <-result:
	case <-ctx.Done():
		// A reader of our own ends the open.
		if own, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			defer unix.Close(own)
			if o = <-result; o.err == nil {
				unix.Close(o.fd)
			}
		}
		return -1, fmt.Errorf("wait for a reader of %s: %w", path, context.Cause(ctx))
	}
	if o.err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: o.err}
	}
	return o.fd, nil
}

func openLogFile(path string) (stdout, stderr *os.File, _ error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, err
	}
	var files [2]*os.File
	for i := range files {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			if i > 0 {
				files[0].Close()
			}
			return nil, nil, err
		}
		files[i] = f
	}
	return files[0], files[1], nil
}

// flushTime is how long close waits for a reader of the output, as runc's shim
// does.
const flushTime = 10 * time.Second

// started closes the process's ends, which it has inherited.
func (s *stdio) started() {
	for i, f := range s.child {
		if f != nil {
			f.Close()
			s.child[i] = nil
		}
	}
}

// closeInput ends the guest's standard input as soon as no client has it open:
// what is on its way is not lost. A terminal has no end: there the client types
// ^D.
func (s *stdio) closeInput() error {
	if s.stdin == "" {
		return nil
	}
	// A writer that comes and goes is the last one if no client has come, and
	// changes nothing if one has.
	fd, err := unix.Open(s.stdin, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == unix.ENXIO || err == unix.ENOENT {
		return nil // it ended before
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: s.stdin, Err: err}
	}
	return unix.Close(fd)
}

// close releases everything. The process must have ended.
func (s *stdio) close() {
	if s.copied != nil {
		select {
		case <-s.copied:
		case <-time.After(flushTime):
			log.L.Warn("nobody reads the terminal's output; the rest of it is lost")
		}
	}
	for _, c := range s.kept {
		if err := c.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			log.L.WithError(err).Warn("close standard stream")
		}
	}
	s.kept = nil
}
