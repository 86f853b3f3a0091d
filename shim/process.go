package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/sys/reaper"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// process is one Wasm process: from its spawn, when it builds its sandbox and
// loads its module, to its exit.
//
// status goes CREATED, RUNNING, STOPPED, and between RUNNING and PAUSED both
// ways; a process may die in any of them. The handler of an exit takes mu, so whoever holds mu while
// changing the status and sending the event for it orders that event before
// the exit.
type process struct {
	cmd   *exec.Cmd
	stdio *stdio
	// control is the shim's end of the control socket, closed after the start or
	// with the container; closing it ends a process that waits for its start.
	control *os.File
	// thaw lets the process go on while it is PAUSED.
	thaw func() error

	mu     sync.Mutex
	status tasktypes.Status // guarded by mu
	// ending is the signal that the shim carried out by SIGKILL; guarded by mu.
	ending unix.Signal
	// exitStatus and exitedAt are set before done is closed.
	exitStatus uint32
	exitedAt   time.Time
	// done is closed after the exit was recorded and its event sent.
	done chan struct{}
}

// spawn starts cmd through start, which may join namespaces around it. onExit
// runs once, with mu held, after the status became STOPPED.
func (p *process) spawn(start func(func() error) error, onExit func()) error {
	p.status = tasktypes.Status_CREATED
	p.done = make(chan struct{})
	return start(func() error {
		// Subscribed before the fork: no exit is missed however early.
		ec, err := reaper.Default.Start(p.cmd)
		if err != nil {
			return err
		}
		go func() {
			status, err := reaper.Default.Wait(p.cmd, ec)
			p.exited(status, err, onExit)
		}()
		return nil
	})
}

// exited records what the reaper says of an ended process: an exit code, or 128
// plus the number of the signal that killed it.
func (p *process) exited(status int, err error, onExit func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		// The reaper ended first, with the server: nobody will ask.
		status = unknownExit
	case status == 128+int(unix.SIGKILL) && p.ending != 0:
		status = 128 + int(p.ending)
	}
	p.exitStatus, p.exitedAt = uint32(status), time.Now()
	p.status = tasktypes.Status_STOPPED
	onExit()
	close(p.done)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// wait returns when the exit is recorded, or with the error of ctx.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signal sends sig to the guest.
//
// Errors: errdefs.ErrInvalidArgument for a number that is no signal,
// errdefs.ErrNotFound when the process has ended, which CRI and Docker take as
// success.
func (p *process) signal(sig unix.Signal) error {
	if sig < 0 || sig > maxSignal {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("signal %d does not exist; use 1 to %d", int(sig), int(maxSignal)))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == tasktypes.Status_STOPPED {
		return errNotRunning
	}
	if !terminates(sig) {
		return p.deliver(sig)
	}
	// A guest has no handlers, so a signal that terminates by default ends
	// it. The kernel would not: it drops such signals for pid 1 of a pid
	// namespace, and a spinning guest keeps a Go handler from running.
	if p.ending == 0 {
		p.ending = sig
	}
	if err := p.deliver(unix.SIGKILL); err != nil {
		return err
	}
	if p.status == tasktypes.Status_PAUSED {
		// A v1 freezer holds back even this signal.
		return p.thaw()
	}
	return nil
}

// unknownExit is the exit status that containerd uses when it cannot know.
const unknownExit = 255

// errNotRunning is what Kill says of an ended process.
var errNotRunning = errdefs.ErrNotFound.WithMessage("process already finished")

func (p *process) deliver(sig unix.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) || errors.Is(err, unix.ESRCH) {
		return errNotRunning
	}
	if err != nil {
		return fmt.Errorf("send %s: %w", unix.SignalName(sig), err)
	}
	return nil
}

// maxSignal is SIGRTMAX.
const maxSignal unix.Signal = 64

// terminates says whether the default action of sig ends a process, by
// signal(7). SIGKILL does, with the exit status of its own number.
func terminates(sig unix.Signal) bool {
	switch sig {
	case 0, unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH,
		unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return false
	}
	return true
}
