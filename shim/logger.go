package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"time"

	runcprocess "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/process"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// logger is the logging binary of a binary:// URI (containerd, docs/logging.md,
// and core/runtime/v2/logging): it has the read ends of stdout and stderr as 3
// and 4, and closes 5 when it is ready.
type logger struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startLogger starts a logging binary, waits until it is ready, or for the end of
// ctx, and returns the write ends of its stdout and stderr. When those are closed
// everywhere it ends; close waits for that.
//
// The shim keeps no read end: a guest whose logger has died gets EPIPE, and does
// not wait for ever.
func startLogger(ctx context.Context, id string, u *url.URL) (_ *logger, outputs [2]*os.File, retErr error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, outputs, err
	}
	var opened []*os.File
	defer func() {
		if retErr != nil {
			for _, f := range opened {
				f.Close()
			}
		}
	}()
	// Not os.Pipe, whose ends do not block: the guest shares the descriptions.
	pipe := func() (r, w *os.File, err error) {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			return nil, nil, fmt.Errorf("make a logger's pipe: %w", err)
		}
		r, w = os.NewFile(uintptr(fds[0]), "logger"), os.NewFile(uintptr(fds[1]), "logger")
		opened = append(opened, r, w)
		return r, w, nil
	}
	outR, outW, err := pipe()
	if err != nil {
		return nil, outputs, err
	}
	errR, errW, err := pipe()
	if err != nil {
		return nil, outputs, err
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return nil, outputs, fmt.Errorf("make a logger's pipe: %w", err)
	}
	opened = append(opened, readyW)
	defer readyR.Close()

	l := &logger{cmd: runcprocess.NewBinaryCmd(u, id, ns), ended: make(chan struct{})}
	l.cmd.ExtraFiles = []*os.File{outR, errR, readyW}
	wait, err := startReaped(l.cmd)
	if err != nil {
		return nil, outputs, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("start logger %s: %v", u.Path, err))
	}
	go func() {
		defer close(l.ended)
		_, _ = wait()
	}()
	for _, f := range l.cmd.ExtraFiles {
		f.Close()
	}
	if err := l.ready(ctx, readyR, u); err != nil {
		_ = l.cmd.Process.Kill()
		<-l.ended
		return nil, outputs, err
	}
	return l, [2]*os.File{outW, errW}, nil
}

// ready returns when the logger has closed its end. One of binary-v2:// writes a
// byte before, which tells it from one that has crashed.
func (l *logger) ready(ctx context.Context, r *os.File, u *url.URL) error {
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	n, err := r.Read(make([]byte, 1))
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("wait for logger %s: %w", u.Path, context.Cause(ctx))
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("wait for logger %s: %w", u.Path, err)
	case n == 0 && u.Scheme == "binary-v2":
		return errdefs.ErrUnavailable.WithMessage(fmt.Sprintf("logger %s ended, or closed descriptor 5, before it said that it is ready", u.Path))
	}
	return nil
}

// Close returns when the logger has ended, by itself or, if it does not, by force.
func (l *logger) Close() error {
	for _, sig := range []unix.Signal{0, unix.SIGTERM, unix.SIGKILL} {
		_ = l.cmd.Process.Signal(sig) // fails if it has ended
		select {
		case <-l.ended:
			return nil
		case <-time.After(flushTime):
			log.L.WithField("logger", l.cmd.Path).Warn("the logger does not end with its input; it is ended by force")
		}
	}
	return fmt.Errorf("logger %s does not end", l.cmd.Path)
}
