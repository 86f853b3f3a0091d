package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/launch"
	"github.com/wasmshim/containerd-shim-wasm/internal/osthread"
	"github.com/wasmshim/containerd-shim-wasm/internal/timeline"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/cgroup"
)

// launched is what a process of a container is made of.
type launched struct {
	config *sandbox.Config
	// program is what the init becomes; nil is the runner.
	program *os.File
	// workload is what the program reads as JSON from control.WorkloadFD; nil is
	// nothing.
	workload any
	// name is the module's, for messages.
	name string
	// module is the guest's binary; nil when there is none.
	module *os.File
	// code is the directory of its compiled code; nil when there is none.
	code *compiled
	// container is a pidfd of the container's init; nil for the init itself.
	container *os.File
	// ended takes the end of the process.
	ended func(status int, err error)
	// marks gets those of the launch; nil where nobody asks.
	marks *timeline.Marks
}

// launch spawns a process and returns when it has become a runner that waits
// for its start. p.stdio is open.
func (c *container) launch(ctx context.Context, p *process, l launched, undo *undoStack) error {
	path, err := launch.Runner()
	if err != nil {
		return classify(err)
	}
	runner, err := sandbox.OpenProgram(path)
	if err != nil {
		return fmt.Errorf("open the runner: %w", err)
	}
	defer runner.Close()
	program, init := runner, (*os.File)(nil)
	if l.program != nil {
		program, init = l.program, runner
	}
	var workload *os.File
	if l.workload != nil {
		if workload, err = launch.Memfd("workload", l.workload); err != nil {
			return err
		}
		defer workload.Close()
	}
	conv, err := launch.NewConversation()
	if err != nil {
		return err
	}
	defer conv.Close()

	p.control = conv.Ours
	p.thaw = c.cgroup.Thaw
	undo.push(func() { p.control.Close() })
	// In the order of the descriptors of package control.
	files := []*os.File{conv.Config, conv.Socket, program, workload, l.module, l.code.mounted(), l.container, init}
	for files[len(files)-1] == nil {
		files = files[:len(files)-1]
	}
	birth := c.cgroup.Birth()
	defer birth.Close()
	l.config.JoinBy(birth.Tasks())
	p.cmd, p.moves = l.config.Command(path, p.stdio.child, files), l.config.Moves()
	birth.Prepare(p.cmd)
	if p.killsBefore, err = c.cgroup.OOMKills(); err != nil {
		return err
	}
	if err := p.spawn(l.fork, l.ended); err != nil {
		return fmt.Errorf("spawn the sandbox's init: %w", err)
	}
	undo.push(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	l.marks.Add("shim: has spawned the init")
	p.stdio.started()
	conv.Spawned()
	birth.Close()
	if err := l.config.PlaceOutside(p.pid()); err != nil {
		return classify(err)
	}
	if birth == nil {
		if err := join(c.cgroup, p); err != nil {
			return err
		}
	}
	// The init waits for this: it does nothing outside its limits.
	if err := conv.Send(l.config); err != nil {
		return err
	}
	if p.moves {
		if err := awaitMove(ctx, p, c.cgroup, l); err != nil {
			return err
		}
	}
	if l.config.AwaitsHooks() {
		if _, err := awaitReport(ctx, p, c.cgroup, l.name); err != nil {
			return err
		}
		if err := checkJoined(c.cgroup, p, l.config); err != nil {
			return err
		}
		if err := c.hooks.created(ctx, p.pid()); err != nil {
			return err
		}
		if err := control.SendStart(p.control); err != nil {
			return fmt.Errorf("let the sandbox's init go on after the hooks: %w", err)
		}
	}
	marks, err := awaitReport(ctx, p, c.cgroup, l.name)
	l.marks.Append(marks)
	if err == nil && l.config.Hooks == nil { // one may have moved it on purpose
		err = checkJoined(c.cgroup, p, l.config)
	}
	return err
}

// fork calls start, which starts the process, on a thread whose children are in the
// right pid namespace.
func (l launched) fork(start func() error) (err error) {
	osthread.Run(func() (clean bool) {
		clean, err = l.config.Start(start)
		return clean
	})
	return err
}

// join adds a process to the cgroup. One that has ended is found by its missing
// report.
func join(cg *cgroup.Cgroup, p *process) error {
	if err := cg.Add(p.pid()); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("add the process to cgroup %s: %w", cg.Path(), err)
	}
	return nil
}

// checkJoined finds a process that goes on without having joined the cgroup, as the
// runner of another version might, which knows nothing of what it is told. One that has
// ended is found later.
func checkJoined(cg *cgroup.Cgroup, p *process, config *sandbox.Config) error {
	if config.Tasks == 0 {
		return nil
	}
	if err := cg.CheckHolds(p.pid()); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("check that the process is in its cgroup: %w; is %s of the version of this shim?", err, launch.RunnerName)
	}
	return nil
}

// runnerArgs is the command line of a runner: what people see in ps.
func runnerArgs(mode string, w *oci.Workload) []string {
	return append([]string{launch.RunnerName, mode}, w.Args...)
}

// runnerEnv is the environment of a runner: one processor for the guest and one
// for the runtime, on any machine. Per processor Go keeps memory that an idle
// container should not cost.
func runnerEnv() []string { return []string{"GOMAXPROCS=2"} }

// awaitReport returns no error when the process reports that it is ready, or one
// of the class that it reports. ctx ends the wait.
func awaitReport(ctx context.Context, p *process, cg *cgroup.Cgroup, module string) (marks timeline.Marks, _ error) {
	err := await(ctx, p, cg, module, func() (err error) {
		marks, err = control.ReceiveReady(p.control)
		return err
	})
	return marks, err
}

// awaitMove takes over the process as which the init goes on.
func awaitMove(ctx context.Context, p *process, cg *cgroup.Cgroup, l launched) error {
	pid := 0
	err := await(ctx, p, cg, l.name, func() (err error) {
		pid, err = control.ReceivePid(p.control)
		return err
	})
	if err != nil {
		return err
	}
	if err := p.moved(pid, l.ended); err != nil {
		return err
	}
	if err := control.SendStart(p.control); err != nil {
		return fmt.Errorf("let the sandbox's init go on as another process: %w", err)
	}
	return nil
}

func await(ctx context.Context, p *process, cg *cgroup.Cgroup, module string, receive func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = p.control.SetReadDeadline(time.Unix(1, 0)) })
	err := receive()
	if !stop() {
		return context.Cause(ctx)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		return classify(err)
	}
	if err := p.wait(ctx); err != nil {
		return err
	}
	if kills, err := cg.OOMKills(); err == nil && kills > p.killsBefore {
		return errdefs.ErrResourceExhausted.WithMessage(fmt.Sprintf(
			"%s ran out of the container's memory while it was compiled or loaded; raise the memory limit", module))
	}
	return errdefs.ErrInternal.WithMessage(fmt.Sprintf("%s: its process ended with status %d before it was ready", module, p.exitStatus))
}

// classify turns the class that travels between processes into errdefs'.
func classify(err error) error {
	e, ok := errors.AsType[*control.Error](err)
	if !ok {
		return err
	}
	switch e.Class {
	case control.InvalidArgument:
		return errdefs.ErrInvalidArgument.WithMessage(e.Message)
	case control.NotFound:
		return errdefs.ErrNotFound.WithMessage(e.Message)
	case control.ResourceExhausted:
		return errdefs.ErrResourceExhausted.WithMessage(e.Message)
	case control.Unavailable:
		return errdefs.ErrUnavailable.WithMessage(e.Message)
	default:
		return errdefs.ErrInternal.WithMessage(e.Message)
	}
}
