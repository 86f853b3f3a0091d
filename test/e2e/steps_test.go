package e2e

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// pod is a native and a Wasm container in one shim, of which one victim dies
// while the Wasm container is at some step of its life.
type pod struct {
	*host
	client  *client.Client
	sidecar *container
	beside  client.Task // the sidecar's
	guest   *container
	task    client.Task
	exec    client.Process // a further process of the guest, if there is one
	exits   *exits
}

// step brings the Wasm container of a pod somewhere.
type step struct {
	name  string
	verb  []string
	enter func(t *testing.T, p *pod)
	// call is what goes on while the victim dies; nil when nothing does.
	call func(t *testing.T, p *pod)
	// ended: the guest has ended before, with 3. ending: it is being ended by
	// SIGTERM. frozen: it is paused.
	ended, ending, frozen bool
}

var steps = []step{
	{name: "created", verb: sleeping, enter: created},
	{name: "starting", verb: sleeping, enter: created, call: func(t *testing.T, p *pod) { _ = p.task.Start(t.Context()) }},
	{name: "running", verb: sleeping, enter: running},
	{name: "starting a process", verb: sleeping, enter: running, call: func(t *testing.T, p *pod) { _ = p.startExec(t) }},
	{name: "running a process", verb: sleeping, enter: func(t *testing.T, p *pod) {
		running(t, p)
		if err := p.startExec(t); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "paused", verb: sleeping, frozen: true, enter: func(t *testing.T, p *pod) {
		running(t, p)
		if err := p.task.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "being killed", verb: sleeping, ending: true, enter: running, call: func(t *testing.T, p *pod) {
		_ = p.task.Kill(t.Context(), syscall.SIGTERM)
	}},
	{name: "exited", verb: []string{"exit", "3"}, ended: true, enter: exited},
	{name: "being deleted", verb: []string{"exit", "3"}, ended: true, enter: exited, call: func(t *testing.T, p *pod) {
		_, _ = p.task.Delete(t.Context())
	}},
}

var sleeping = []string{"sleep", "600"}

func created(t *testing.T, p *pod) { p.task = p.guest.create(t) }

func running(t *testing.T, p *pod) {
	created(t, p)
	if err := p.task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, "the guest runs", func() bool { return p.guest.stdout.String() != "" })
}

func exited(t *testing.T, p *pod) {
	created(t, p)
	exit, err := p.task.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := code(t, exit); got != 3 {
		t.Errorf("exit code %d, want 3", got)
	}
}

// victims are who dies.
var victims = []struct {
	name string
	kill func(t *testing.T, p *pod)
	// shim: no task survives. guest and sidecar: that one does not.
	// daemon: containerd itself.
	shim, guest, sidecar, daemon bool
}{
	{name: "shim", shim: true, kill: func(t *testing.T, p *pod) { p.killShims(t) }},
	{name: "runner", guest: true, kill: func(t *testing.T, p *pod) { killPid(int(p.task.Pid())) }},
	{name: "process", kill: func(t *testing.T, p *pod) {
		for _, q := range p.procs(t) {
			if q.isRunner() && q.pid != int(p.task.Pid()) {
				killPid(q.pid)
			}
		}
	}},
	{name: "sidecar", sidecar: true, kill: func(t *testing.T, p *pod) { killPid(int(p.beside.Pid())) }},
	{name: "containerd", daemon: true, kill: func(t *testing.T, p *pod) {
		if err := p.Restart(t.Context(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}},
}

func TestFaultEveryVictimAtEveryStep(t *testing.T) {
	forVersions(t, faultVersions(), func(t *testing.T, version string) {
		for _, s := range steps {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				onDaemonOfItsOwn(t, version, func(t *testing.T, h *host) { h.everyVictimAt(t, s) })
			})
		}
	})
}

// everyVictimAt has one victim after the other die at a step.
func (h *host) everyVictimAt(t *testing.T, s step) {
	h.image(t, "native")
	var usual time.Duration
	if s.call != nil {
		t.Run("nobody", func(t *testing.T) {
			p := h.newPod(t, s)
			usual = took(func() { s.call(t, p) })
			p.end(t, s, s.ended, nil)
		})
	}
	for _, v := range victims {
		for _, m := range moments() {
			name := v.name
			if s.call != nil {
				name += " " + moment(m)
			}
			t.Run(name, func(t *testing.T) {
				p := h.newPod(t, s)
				during := make(chan struct{})
				go func() {
					defer close(during)
					if s.call != nil {
						s.call(t, p)
					}
				}()
				time.Sleep(time.Duration(m * float64(usual))) // the moment is the input
				v.kill(t, p)
				<-during
				var codes []uint32
				switch {
				case s.ended:
					codes = []uint32{3}
				case v.shim || v.guest:
					codes = []uint32{137}
				}
				if s.ending {
					codes = append(codes, 143)
				}
				if v.shim {
					p.assertExitEvent(t, codes)
				}
				if !v.shim && !v.sidecar {
					p.assertRunning(t, p.sidecar)
				}
				if v.guest && s.frozen && p.task.Resume(t.Context()) != nil {
					t.Error("a paused task cannot be resumed") // a v1 freezer keeps even killed processes
				}
				// Nobody may have got the call that containerd died in.
				lost := s.ending && v.daemon
				p.end(t, s, v.shim || v.guest || s.ended || s.ending && !lost, codes)
				if v.daemon {
					h.removeHiddenBundles(t)
				}
			})
			if s.call == nil {
				break
			}
		}
	}
}

// newPod makes a pod with a running sidecar and takes its guest to the step.
func (h *host) newPod(t *testing.T, s step) *pod {
	t.Helper()
	before := h.census(t)
	p := &pod{host: h, client: h.connect(t), exits: h.watchExits(t)}
	t.Cleanup(func() { h.assertNothingLeft(t, before) })
	group := h.NewID("group")
	p.sidecar = h.newGuest(t, p.client, "native", []string{"sleep", "600"}, inGroup(group))
	task, err := p.sidecar.NewTask(t.Context(), cio.NullIO)
	if err == nil {
		err = task.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	p.beside = task
	p.guest = h.newGuest(t, p.client, "probe-c", s.verb, inGroup(group))
	s.enter(t, p)
	return p
}

// startExec runs a further process in the guest's container.
func (p *pod) startExec(t *testing.T) error {
	spec, err := p.guest.Spec(t.Context())
	if err != nil {
		return err
	}
	process := &specs.Process{Args: []string{"/probe-c.wasm", "sleep", "600"}, Cwd: "/", User: spec.Process.User}
	p.exec, err = p.task.Exec(t.Context(), "further", process, cio.NullIO)
	if err != nil {
		return err
	}
	return p.exec.Start(t.Context())
}

// assertExitEvent waits for the exit that containerd reports of a guest whose
// shim has died, and compares all that it reports.
func (p *pod) assertExitEvent(t *testing.T, want []uint32) {
	t.Helper()
	var got []uint32
	within(t, "containerd reports the exit", func() bool {
		got = p.exits.of(p.guest.ID())
		return len(got) > 0
	})
	for _, code := range got {
		if !slices.Contains(want, code) {
			t.Errorf("containerd reports the exits %v, want %v", got, want)
		}
	}
}

func (p *pod) assertRunning(t *testing.T, c *container) {
	t.Helper()
	task := p.load(t, p.connect(t), c.ID())
	if task == nil {
		t.Errorf("the task of %s is lost", c.ID())
		return
	}
	if status, err := task.Status(t.Context()); err != nil || status.Status != client.Running {
		t.Errorf("%s is %v: %v", c.ID(), status.Status, err)
	}
}

// end ends the guest, unless it ends by itself, compares its exit code, and
// removes the pod.
func (p *pod) end(t *testing.T, s step, byItself bool, codes []uint32) {
	t.Helper()
	cl := p.connect(t)
	if task := p.load(t, cl, p.guest.ID()); task != nil {
		if !byItself {
			// A process of the container must end with it.
			if err := task.Kill(t.Context(), syscall.SIGTERM); err != nil && !errdefs.IsNotFound(err) {
				t.Errorf("kill: %v", err)
			}
			codes = append(codes, 143)
		}
		var status client.Status
		within(t, "the guest has stopped", func() bool {
			var err error
			status, err = task.Status(t.Context())
			return errdefs.IsNotFound(err) || err == nil && status.Status == client.Stopped
		})
		if status.Status == client.Stopped && codes != nil && !slices.Contains(codes, status.ExitStatus) {
			t.Errorf("exit code %d, want one of %v", status.ExitStatus, codes)
		}
	}
	p.guest.conclude(t, p.task)
	p.sidecar.conclude(t, p.beside)
}

// A native container of the pod is runc's, whose processes may be killed at
// their work; the guest beside it is unharmed, and nothing is left.
func TestFaultRuncIsKilledWhileItWorksOnASidecar(t *testing.T) {
	onFaultDaemonAlone(t, func(t *testing.T, h *host) {
		h.image(t, "native")
		for _, verb := range []string{"create", "start", "exec", "kill", "delete"} {
			t.Run(verb, func(t *testing.T) {
				before := h.census(t)
				cl := h.connect(t)
				group := h.NewID("group")
				guest := h.newGuest(t, cl, "probe-c", sleeping, inGroup(group))
				task, _ := guest.start(t)
				p := &pod{host: h}
				h.huntAgain(t, func(p proc) bool { return p.is("runc", verb) }, func() {
					sidecar := h.newGuest(t, cl, "native", []string{"sleep", "600"}, inGroup(group))
					native, err := nativeLife(t, sidecar)
					t.Logf("the sidecar's life: %v", err)
					p.assertRunning(t, guest)
					sidecar.conclude(t, native)
					p.assertRunning(t, guest)
				})
				guest.conclude(t, task)
				h.assertNothingLeft(t, before)
			})
		}
	})
}

// nativeLife takes a native container through its life as far as that goes.
func nativeLife(t *testing.T, c *container) (client.Task, error) {
	ctx := t.Context()
	task, err := c.NewTask(ctx, cio.NullIO)
	if err != nil {
		return nil, err
	}
	if err := task.Start(ctx); err != nil {
		return task, err
	}
	spec := &specs.Process{Args: []string{"/bin/busybox", "true"}, Cwd: "/"}
	exec, err := task.Exec(ctx, "further", spec, cio.NullIO)
	if err == nil {
		err = exec.Start(ctx)
	}
	if err != nil {
		return task, fmt.Errorf("exec: %w", err)
	}
	if err := task.Kill(ctx, syscall.SIGKILL); err != nil {
		return task, err
	}
	_, err = task.Delete(ctx, client.WithProcessKill)
	return task, err
}
