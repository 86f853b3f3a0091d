package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	eventstypes "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/debugnames"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

// exec adds a process to the container; startExec spawns it.
//
// Errors: errdefs.ErrAlreadyExists for an exec id in use,
// errdefs.ErrFailedPrecondition when the container has ended,
// errdefs.ErrInvalidArgument for a message that is no OCI process.
func (c *container) exec(r *taskapi.ExecProcessRequest) error {
	p := newProcess(0)
	p.execID = r.ExecID
	p.stdin, p.stdout, p.stderr, p.terminal = r.Stdin, r.Stdout, r.Stderr, r.Terminal
	p.spec = &specs.Process{}
	if err := json.Unmarshal(r.Spec.GetValue(), p.spec); err != nil {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("the process to execute is no process of the OCI runtime specification: %v", err))
	}
	p.spec.Terminal = r.Terminal
	if r.ExecID == "" || len(p.spec.Args) == 0 {
		return errdefs.ErrInvalidArgument.WithMessage("the process to execute has no id or no args; name a module or a command")
	}
	c.execMu.Lock()
	defer c.execMu.Unlock()
	if c.ended {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("container %s has ended; nothing can be executed in it", c.id))
	}
	if _, ok := c.execs[r.ExecID]; ok {
		return errdefs.ErrAlreadyExists.WithMessage(fmt.Sprintf("container %s has a process %s already", c.id, r.ExecID))
	}
	c.execs[r.ExecID] = p
	c.events.send(&eventstypes.TaskExecAdded{ContainerID: c.id, ExecID: r.ExecID})
	return nil
}

// startExec runs the module, or the built-in command, that the process names.
//
// Errors: errdefs.ErrFailedPrecondition unless the container runs and the
// process was not started before; otherwise as Create.
func (c *container) startExec(ctx context.Context, p *process) (err error) {
	defer func() {
		if err != nil {
			c.reportOOM() // of a process that has no exit
		}
	}()
	var undo undoStack
	defer undo.run()
	handle, err := c.runningInit()
	if err != nil {
		return err
	}
	defer handle.Close()
	target, err := c.resolveExec(ctx, p.spec, handle)
	if err != nil {
		return err
	}
	defer target.Module.Close()
	mode, code := "debug", (*compiled)(nil)
	if target.Kind == oci.Wasm {
		mode = "guest"
		c.settings.Apply(target.Workload)
		p.drain = c.settings.Drain
		if code, err = c.compiledCode(ctx, target); err != nil {
			return err
		}
		defer code.release(ctx)
	}
	config, err := sandbox.FromProcess(p.spec, c.linux, handle, runnerArgs(mode, target.Workload))
	if err != nil {
		return classify(err)
	}
	// A filter is inherited, and this process is no child of the init.
	if err := config.ApplySeccomp(c.seccomp); err != nil {
		return classify(err)
	}
	config.Env = runnerEnv()
	config.Landlock = c.reach(target)
	target.Workload.Limits = c.options.compile
	for _, warning := range config.Warnings {
		log.G(ctx).WithField("id", c.id).WithField("exec", p.execID).Warn(warning)
	}

	c.execMu.Lock()
	defer c.execMu.Unlock()
	switch {
	case c.ended:
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("container %s has ended; nothing can be executed in it", c.id))
	case c.execs[p.execID] != p:
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("process %s of container %s was deleted", p.execID, c.id))
	case p.pid() != 0:
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("process %s of container %s was started before", p.execID, c.id))
	}
	if err := p.open(ctx, p.execID, p.spec.ConsoleSize, &undo); err != nil {
		return err
	}
	announced := false
	err = c.launch(ctx, p, launched{
		config:    config,
		workload:  target.Workload,
		name:      target.Workload.Module,
		module:    target.Module,
		code:      code,
		container: handle,
		ended: func(status int, err error) {
			p.exited(status, err, func() {
				if announced {
					c.execExited(p)
				}
			})
		},
	}, &undo)
	if err == nil {
		err = p.release(func() {
			announced = true
			c.events.send(&eventstypes.TaskExecStarted{ContainerID: c.id, ExecID: p.execID, Pid: uint32(p.pid())})
		})
	}
	if err != nil {
		return err
	}
	undo.release()
	return nil
}

// runningInit returns a pidfd of the container's init if that runs. Who has it
// can tell later whether the pid was the init's all the time.
func (c *container) runningInit() (*os.File, error) {
	p := c.init
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != tasktypes.Status_RUNNING {
		return nil, c.not("running", "executed in")
	}
	fd, err := unix.PidfdOpen(p.pid(), 0)
	if err != nil {
		return nil, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("container %s is ending: %v", c.id, err))
	}
	return os.NewFile(uintptr(fd), "container"), nil
}

// resolveExec finds what to execute in the root of the running container: a
// module by the rules of Create, or else a built-in command, which comes before the
// layers of the image: it is what people type.
func (c *container) resolveExec(ctx context.Context, spec *specs.Process, handle *os.File) (*oci.Target, error) {
	root := fmt.Sprintf("/proc/%d/root", c.init.pid())
	var find []oci.Option
	if !debugnames.Has(spec.Args[0]) {
		find = append(find, c.layers.option(ctx))
	}
	target, err := oci.Resolve(&specs.Spec{Process: spec}, root, find...)
	if err != nil {
		return nil, classify(err)
	}
	if target.Kind == oci.Native {
		if target, err = builtIn(spec); err != nil {
			return nil, err
		}
	}
	// The root was the container's if its init lives still.
	if err := unix.PidfdSendSignal(int(handle.Fd()), 0, nil, 0); err != nil {
		target.Module.Close()
		return nil, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("container %s has ended; nothing can be executed in it", c.id))
	}
	return target, nil
}

func (c *container) execExited(p *process) {
	c.reportOOM()
	c.events.send(&eventstypes.TaskExit{
		ContainerID: c.id,
		ID:          p.execID,
		Pid:         uint32(p.pid()),
		ExitStatus:  p.exitStatus,
		ExitedAt:    protobuf.ToTimestamp(p.exitedAt),
	})
}

// endExecs returns when every further process has ended and none can start. The
// init has ended: the kernel has killed those of its pid namespace, and a
// namespace that is shared is left only by a kill.
func (c *container) endExecs() {
	c.execMu.Lock()
	c.ended = true
	var live []*process
	for _, p := range c.execs {
		if p.pid() != 0 {
			live = append(live, p)
		}
	}
	c.execMu.Unlock()
	if c.sharedPID || len(live) > 0 {
		if err := c.cgroup.Kill(); err != nil {
			log.L.WithError(err).WithField("id", c.id).Error("kill the other processes of an ended container")
		}
	}
	for _, p := range live {
		<-p.done
	}
}

// deleteExec removes a process that has ended or was never started.
//
// Errors: errdefs.ErrFailedPrecondition while it runs.
func (c *container) deleteExec(p *process) error {
	c.execMu.Lock()
	defer c.execMu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid() != 0 && p.status != tasktypes.Status_STOPPED {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("process %s of container %s is running; kill it before it is deleted", p.execID, c.id))
	}
	delete(c.execs, p.execID)
	p.discard()
	return nil
}

// releaseExecs releases the processes that nobody has deleted, after the end of
// all of them.
func (c *container) releaseExecs() {
	c.execMu.Lock()
	defer c.execMu.Unlock()
	for id, p := range c.execs {
		delete(c.execs, id)
		p.mu.Lock()
		p.discard()
		p.mu.Unlock()
	}
}

// liveExecs lists the further processes that were started.
func (c *container) liveExecs() []*process {
	c.execMu.Lock()
	defer c.execMu.Unlock()
	var live []*process
	for _, p := range c.execs {
		if p.pid() != 0 {
			live = append(live, p)
		}
	}
	return live
}

// execIDOf returns the exec id of a pid, or nothing.
func (c *container) execIDOf(pid int) string {
	live := c.liveExecs()
	if i := slices.IndexFunc(live, func(p *process) bool { return p.pid() == pid }); i >= 0 {
		return live[i].execID
	}
	return ""
}
