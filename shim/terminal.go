package shim

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/containerd/console"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// openTerminal opens a pseudo-terminal for one process and copies between it
// and the paths of a request: what is typed comes from stdin, everything the
// process writes goes to stdout.
func openTerminal(ctx context.Context, id, stdin, stdout string, size *specs.Box) (_ *stdio, retErr error) {
	master, slavePath, err := console.NewPty()
	if err != nil {
		return nil, fmt.Errorf("open a pseudo-terminal: %w", err)
	}
	s := &stdio{terminal: master, kept: []io.Closer{master}}
	defer func() {
		if retErr != nil {
			s.started()
			s.close()
		}
	}()
	if size != nil {
		if err := resize(master, uint32(size.Width), uint32(size.Height)); err != nil {
			return nil, err
		}
	}
	for i := range s.child {
		fd, err := unix.Open(slavePath, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: slavePath, Err: err}
		}
		s.child[i] = os.NewFile(uintptr(fd), slavePath)
	}
	return s, s.connectTerminal(ctx, id, stdin, stdout)
}

func (s *stdio) connectTerminal(ctx context.Context, id, stdin, stdout string) error {
	out, err := s.openTerminalOutput(ctx, id, stdout)
	if err != nil {
		return fmt.Errorf("open stdout: %w", err)
	}
	s.copied = make(chan struct{})
	go func() {
		defer close(s.copied)
		defer out.Close()
		// Ends with EIO when the last process has closed the terminal.
		_, _ = io.Copy(out, s.terminal)
	}()
	if stdin == "" {
		return nil
	}
	in, err := openInputFifo(stdin)
	if err != nil {
		return err
	}
	s.kept = append(s.kept, in)
	go func() {
		// Ends when the last client closes its end or close closes in.
		defer in.Close()
		if awaitWriter(in) == nil {
			_, _ = io.Copy(s.terminal, in)
		}
	}()
	return nil
}

// openTerminalOutput opens what stdout of a request names.
func (s *stdio) openTerminalOutput(ctx context.Context, id, stdout string) (*os.File, error) {
	u, err := outputURI(stdout)
	if err != nil {
		return nil, err
	}
	if u == nil {
		out, keep, err := openOutput(ctx, stdout)
		if keep != nil {
			s.kept = append(s.kept, keep)
		}
		return out, err
	}
	out, stderr, err := s.openURI(ctx, id, u)
	if err == nil {
		stderr.Close() // a terminal has none
	}
	return out, err
}

// resize sets the size of the process's terminal in characters.
//
// Errors: errdefs.ErrFailedPrecondition when it has none.
func (s *stdio) resize(width, height uint32) error {
	if s.terminal == nil {
		return errdefs.ErrFailedPrecondition.WithMessage("the process has no terminal; create it with one")
	}
	return resize(s.terminal, width, height)
}

func resize(terminal console.Console, width, height uint32) error {
	const most = 1<<16 - 1
	if width > most || height > most {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("a terminal of %d by %d characters cannot be; use at most %d", width, height, most))
	}
	if err := terminal.Resize(console.WinSize{Width: uint16(width), Height: uint16(height)}); err != nil {
		return fmt.Errorf("resize the terminal: %w", err)
	}
	return nil
}
