package shim

import (
	"context"
	"errors"
	"fmt"
	"sync"

	eventstypes "github.com/containerd/containerd/api/events"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/errdefs"
	gorunc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/cgroup"
)

// container is one Wasm container after a successful Create.
type container struct {
	id     string
	bundle string
	// rootfs is where the shim mounted the root file system; empty when the
	// bundle brought its own.
	rootfs string
	cgroup *cgroup.Cgroup
	events *eventQueue
	// sharedPID: the container lives in a pid namespace that outlives its
	// init, so its other processes do too unless they are killed.
	sharedPID bool

	hooks *hooks
	// seccomp is the profile of every process; nil when there is none.
	seccomp *specs.LinuxSeccomp

	// linux is that section of the spec, nil if there is none: what a further
	// process has to know of the namespaces.
	linux *specs.Linux

	// options are the runtime options of its Create.
	options *Options
	// layers is where further modules may be found.
	layers layerSource
	// life is what became of it after Create.
	life lifeline
	// settings are those of its guests: the options' with its annotations.
	settings oci.Settings
	// init is the container's first process.
	init *process
	// announced: the event of the creation was sent; guarded by init.mu.
	announced bool
	// oomMu orders the events of OOM kills with those of the exits.
	oomMu sync.Mutex
	// oomKills is how many were reported; guarded by oomMu.
	oomKills uint64

	// execMu is held while a further process starts, so that the end of the
	// init comes before or after all of that.
	execMu sync.Mutex
	// execs are the further processes by exec id; guarded by execMu.
	execs map[string]*process
	// ended: the init is gone, and nothing may start; guarded by execMu.
	ended bool

	// deleting serialises Delete with itself.
	deleting sync.Mutex
	deleted  bool // guarded by deleting
}

// process returns the process with that exec id; empty is the init.
//
// Errors: errdefs.ErrNotFound.
func (c *container) process(execID string) (*process, error) {
	if execID == "" {
		return c.init, nil
	}
	c.execMu.Lock()
	defer c.execMu.Unlock()
	p, ok := c.execs[execID]
	if !ok {
		return nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("container %s has no process %q", c.id, execID))
	}
	return p, nil
}

// start releases the guest.
//
// Errors: errdefs.ErrFailedPrecondition when it was started before or has ended.
func (c *container) start(ctx context.Context) error {
	c.life.mark("shim: is asked to start")
	err := c.init.release(func() {
		c.events.send(&eventstypes.TaskStart{ContainerID: c.id, Pid: uint32(c.init.pid())})
	})
	if err != nil {
		return err
	}
	c.life.mark("shim: has let the guest go")
	if err := c.hooks.started(ctx, c.init.pid()); err != nil {
		// runtime-spec, runtime.md, "Lifecycle": a failure stops the container.
		if killErr := c.init.signal(unix.SIGKILL); !errdefs.IsNotFound(killErr) {
			err = errors.Join(err, killErr)
		}
		return err
	}
	return nil
}

// kill sends sig to one process, or with all to every process of the container.
// Errors are those of process.signal.
func (c *container) kill(p *process, sig unix.Signal, all bool) error {
	err := p.signal(sig)
	if !all || p != c.init {
		return err
	}
	for _, other := range c.liveExecs() {
		if execErr := other.signal(sig); execErr != nil && !errdefs.IsNotFound(execErr) {
			err = errors.Join(err, execErr)
		}
	}
	return err
}

// delete ends a container that was never started, removes everything that
// Create made.
//
// Errors: errdefs.ErrFailedPrecondition while the guest runs,
// errdefs.ErrNotFound after a successful delete.
func (c *container) delete(ctx context.Context) error {
	c.deleting.Lock()
	defer c.deleting.Unlock()
	if c.deleted {
		return errNoContainer(c.id)
	}
	c.life.mark("shim: is asked to delete")
	p := c.init
	p.mu.Lock()
	status := p.status
	if status == tasktypes.Status_CREATED {
		_ = p.cmd.Process.Kill()
	}
	p.mu.Unlock()
	if status != tasktypes.Status_CREATED && status != tasktypes.Status_STOPPED {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("container %s is running; kill it before it is deleted", c.id))
	}
	if err := p.wait(ctx); err != nil {
		return err
	}
	if err := c.release(); err != nil {
		return err
	}
	c.hooks.stopped(ctx)
	c.deleted = true
	if err := leaveAnswer(c.bundle, p.deleteResponse()); err != nil {
		log.G(ctx).WithError(err).WithField("id", c.id).Warn("leave the answer to delete; it will look for what is left")
	}
	c.events.send(&eventstypes.TaskDelete{
		ContainerID: c.id,
		Pid:         uint32(p.pid()),
		ExitStatus:  p.exitStatus,
		ExitedAt:    protobuf.ToTimestamp(p.exitedAt),
	})
	c.life.mark("shim: has deleted the container")
	c.life.log(ctx, c.id)
	return nil
}

// release undoes Create for a container whose init has ended. It may be called
// again after a failure.
func (c *container) release() error {
	_ = c.init.control.Close() // again, if it was started
	c.init.stdio.close()
	c.releaseExecs()
	// Before it unmounts, the kernel waits for every processor: the cgroup goes
	// meanwhile. Processes that are left in there have mounts of their own.
	unmounted := make(chan error, 1)
	go func() { unmounted <- c.unmountRootfs() }()
	return errors.Join(c.removeCgroup(), <-unmounted)
}

// removeCgroup ends what is in the cgroup, and removes it.
func (c *container) removeCgroup() error {
	if err := c.cgroup.Kill(); err != nil {
		return fmt.Errorf("kill processes in cgroup %s: %w", c.cgroup.Path(), err)
	}
	if err := c.cgroup.Delete(); err != nil {
		return fmt.Errorf("delete cgroup %s: %w", c.cgroup.Path(), err)
	}
	return nil
}

// unmountRootfs unmounts what the shim has mounted.
func (c *container) unmountRootfs() error {
	if c.rootfs == "" {
		return nil
	}
	if err := mount.UnmountRecursive(c.rootfs, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", c.rootfs, err)
	}
	return nil
}

// initEnded takes the end of the init. The exit of the init is the last of its
// container: those of its other processes come before.
func (c *container) initEnded(status int, err error) {
	c.life.mark("shim: has seen the guest's end")
	c.endExecs()
	c.init.exited(status, err, c.exited)
}

// exited runs with the init's mutex held, once, when the init has ended.
func (c *container) exited() {
	p := c.init
	if !c.announced {
		return
	}
	c.reportOOM()
	// A later `delete` of another process tells the daemon this status.
	if err := runc.WriteExitStatus(c.bundle, goruncExit(p)); err != nil {
		log.L.WithError(err).WithField("id", c.id).Error("record exit status")
	}
	c.events.send(&eventstypes.TaskExit{
		ContainerID: c.id,
		ID:          c.id,
		Pid:         uint32(p.pid()),
		ExitStatus:  p.exitStatus,
		ExitedAt:    protobuf.ToTimestamp(p.exitedAt),
	})
}

// reportOOM sends TaskOOM if the kernel killed for memory since it was last
// asked. Called before the event of an exit: CRI explains the exit by it.
// Nothing watches the cgroup meanwhile, and nothing is missed: the kernel counts
// a kill before the process can be seen to have ended.
func (c *container) reportOOM() {
	c.oomMu.Lock()
	defer c.oomMu.Unlock()
	kills, err := c.cgroup.OOMKills()
	if err != nil {
		log.L.WithError(err).WithField("id", c.id).Error("look for OOM kills")
		return
	}
	if kills > c.oomKills {
		c.oomKills = kills
		c.events.send(&eventstypes.TaskOOM{ContainerID: c.id})
	}
}

func goruncExit(p *process) gorunc.Exit {
	return gorunc.Exit{Timestamp: p.exitedAt, Pid: p.pid(), Status: int(p.exitStatus)}
}

func errNoContainer(id string) error {
	return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("container %s does not exist", id))
}
