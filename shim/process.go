package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/containerd/v2/pkg/sys/reaper"
	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// process is one Wasm process: from its spawn, when it builds its sandbox and
// loads its module, to its exit.
//
// status goes CREATED, RUNNING, STOPPED, and between RUNNING and PAUSED both
// ways; a process may die in any of them. The handler of an exit takes mu, so whoever holds mu while
// changing the status and sending the event for it orders that event before
// the exit.
type process struct {
	// execID is empty for the init.
	execID string
	// stdin, stdout, stderr and terminal are the request's.
	stdin, stdout, stderr string
	terminal              bool
	// spec is what Start of a further process runs; nil for the init.
	spec *specs.Process
	// handles: the program has handlers of its own for the signals that end it,
	// as no guest has. Not changed once the process is spawned.
	handles bool
	// drain is how long a guest that reads its signals may take to end; 0 for one
	// that does not. Not changed once the process is released.
	drain time.Duration

	// cmd is set before the process is spawned, and not used by others before
	// spawned holds the pid.
	cmd     *exec.Cmd
	spawned atomic.Int64
	// killsBefore are the OOM kills of the cgroup before the process was there.
	killsBefore uint64
	// moves: the spawned process goes on as another, which moved makes this one.
	moves bool
	// exits is subscribed for that other; nil before the spawn and once it is
	// waited for, or never will be; guarded by mu.
	exits chan runc.Exit
	// control is the shim's end of the control socket, closed after the start or
	// with the container; closing it ends a process that waits for its start.
	control *os.File
	// thaw lets the process go on while it is PAUSED.
	thaw func() error

	mu sync.Mutex
	// stdio is nil for a process that was not started yet; guarded by mu.
	stdio  *stdio
	status tasktypes.Status // guarded by mu
	// ending is the signal that the shim carried out by SIGKILL; guarded by mu.
	ending unix.Signal
	// draining runs out when the time for a drain has; guarded by mu.
	draining *time.Timer
	// exitStatus and exitedAt are set before done is closed.
	exitStatus uint32
	exitedAt   time.Time
	// done is closed after the exit was recorded and its event sent.
	done chan struct{}
}

// newProcess returns a process that is not spawned yet.
func newProcess(drain time.Duration) *process {
	return &process{status: tasktypes.Status_CREATED, drain: drain, done: make(chan struct{})}
}

// spawn starts cmd through start, which may join namespaces around it. ended
// gets what the reaper says of the end; it calls exited.
func (p *process) spawn(start func(func() error) error, ended func(status int, err error)) error {
	return start(func() error {
		// Subscribed before the fork: no exit is missed however early.
		if p.moves {
			p.exits = reaper.Default.Subscribe()
		}
		cmd := p.cmd
		ec, err := reaper.Default.Start(cmd)
		if err != nil {
			p.abandon()
			return err
		}
		p.spawned.Store(int64(cmd.Process.Pid))
		go func() {
			status, err := reaper.Default.Wait(cmd, ec)
			if p.moves && !p.abandon() {
				return // its end is that of the process as which it goes on
			}
			ended(status, err)
			// The reaper has reaped it behind the back of package os, which
			// would keep its pidfd until the next collection.
			_ = p.cmd.Process.Release()
		}()
		return nil
	})
}

// abandon ends the wait for another process as which this one would go on, and
// returns false when that is the case already.
func (p *process) abandon() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exits == nil {
		return false
	}
	reaper.Default.Unsubscribe(p.exits)
	p.exits = nil
	return true
}

// moved makes pid, a child of this process that waits for more, the process; the
// end of the one that was spawned means nothing from here on. ended is that of
// spawn.
//
// Errors: errdefs.ErrUnavailable when the one that was spawned has ended.
func (p *process) moved(pid int, ended func(status int, err error)) error {
	other, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("find the sandbox's init: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exits == nil {
		return errdefs.ErrUnavailable.WithMessage("the sandbox's init ended before it went on as another process")
	}
	cmd, exits := &exec.Cmd{Process: other}, p.exits
	p.cmd, p.exits = cmd, nil
	p.spawned.Store(int64(pid))
	go func() { ended(reaper.Default.Wait(cmd, exits)) }()
	return nil
}

// exited records what the reaper says of an ended process: an exit code, or 128
// plus the number of the signal that killed it. onExit runs once, with mu held,
// after the status became STOPPED.
func (p *process) exited(status int, err error, onExit func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining != nil {
		p.draining.Stop()
	}
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

// pid is 0 before the process is spawned.
func (p *process) pid() int { return int(p.spawned.Load()) }

// open opens the standard streams that the request names.
func (p *process) open(ctx context.Context, id string, size *specs.Box, undo *undoStack) error {
	var s *stdio
	var err error
	if p.terminal {
		s, err = openTerminal(ctx, id, p.stdin, p.stdout, size)
	} else {
		s, err = openStdio(ctx, id, p.stdin, p.stdout, p.stderr)
	}
	if err != nil {
		return err
	}
	undo.push(s.close)
	undo.push(s.started)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stdio = s
	return nil
}

// release lets a process that is ready go; announce sends the event for it,
// before that of its exit.
//
// Errors: errdefs.ErrFailedPrecondition when it was released before or has
// ended.
func (p *process) release(announce func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != tasktypes.Status_CREATED {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("the process is %s and cannot be started", statusName(p.status)))
	}
	if err := control.SendStart(p.control); err != nil {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("the process ended before it was started: %v", err))
	}
	_ = p.control.Close()
	p.status = tasktypes.Status_RUNNING
	announce()
	return nil
}

// discard releases a process that has ended, or that was never spawned and now
// never will be: its exit status is 0 then, as runc's shim has it. mu is held.
func (p *process) discard() {
	if p.stdio != nil {
		p.stdio.close()
	}
	if p.pid() == 0 && p.status != tasktypes.Status_STOPPED {
		p.status, p.exitedAt = tasktypes.Status_STOPPED, time.Now()
		close(p.done)
	}
}

// deleteResponse is the answer to Delete, once the exit is recorded.
func (p *process) deleteResponse() *taskapi.DeleteResponse {
	return &taskapi.DeleteResponse{
		Pid:        uint32(p.pid()),
		ExitStatus: p.exitStatus,
		ExitedAt:   protobuf.ToTimestamp(p.exitedAt),
	}
}

// closeInput ends the standard input, if the process was started.
func (p *process) closeInput() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stdio == nil {
		return nil
	}
	return p.stdio.closeInput()
}

// resize sets the size of the terminal.
//
// Errors: errdefs.ErrFailedPrecondition when there is none.
func (p *process) resize(width, height uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stdio == nil {
		return errdefs.ErrFailedPrecondition.WithMessage("the process was not started yet and has no terminal")
	}
	return p.stdio.resize(width, height)
}

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
	if p.status == tasktypes.Status_STOPPED || p.pid() == 0 {
		return errNotRunning
	}
	if !terminates(sig) || p.handles && sig != unix.SIGKILL {
		return p.deliver(sig)
	}
	if p.drain > 0 && p.status != tasktypes.Status_CREATED && slices.Contains(control.GuestSignals(), sig) {
		return p.passOn(sig)
	}
	return p.end(sig)
}

// end carries out the default action of a signal. mu is held.
//
// A guest has no handlers, so a signal that terminates by default ends it. The
// kernel would not: it drops such signals for pid 1 of a pid namespace, and a
// spinning guest keeps a Go handler from running.
func (p *process) end(sig unix.Signal) error {
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

// passOn lets the runner tell its guest of a signal. From the first that asks it
// to end it has the time of a drain. mu is held.
func (p *process) passOn(sig unix.Signal) error {
	if control.AsksToEnd(sig) && p.draining == nil {
		p.draining = time.AfterFunc(p.drain, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.status == tasktypes.Status_STOPPED {
				return
			}
			if err := p.end(sig); err != nil && !errdefs.IsNotFound(err) {
				log.L.WithError(err).WithField("pid", p.pid()).Error("end a guest after its time for a drain")
			}
		})
	}
	return p.deliver(sig)
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
