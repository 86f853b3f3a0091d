package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/cgroup"
)

// podState is where a Pod is between its creation and its removal.
type podState int

const (
	podCreated podState = iota
	podReady
	podStopped
)

// pod is the sandbox of a Pod that has no pause container: the shim itself keeps
// what its containers share. Its namespaces are held by the main thread of the
// shim or, where no thread can, by a pause process.
//
// Every method that changes the state takes mu first, so that they come one after
// the other.
type pod struct {
	id string
	// bundle is an absolute path; it has the Pod's files.
	bundle string
	// network is the path of the network namespace that CRI made; empty for a new
	// one, or for the host's.
	network  string
	config   *podConfig
	defaults podDefaults
	service  *service

	mu        sync.Mutex
	state     podState // guarded by mu
	createdAt time.Time
	// holder is the pause process; nil when there is none. Guarded by mu.
	holder *container
	// released: nothing is left of an ended holder; guarded by mu.
	released bool
	// exitStatus and exitedAt are set before stopped is closed.
	exitStatus uint32
	exitedAt   time.Time
	stopped    chan struct{}
}

// newPod makes the files of a Pod.
func newPod(s *service, id, bundle, network string, config *podConfig) (*pod, error) {
	p := &pod{
		id: id, bundle: bundle, network: network, config: config, defaults: podDefaultsFromEnv(), service: s,
		createdAt: time.Now(),
		stopped:   make(chan struct{}),
	}
	if err := p.makeFiles(); err != nil {
		return nil, errors.Join(err, p.removeFiles())
	}
	return p, nil
}

// start makes the namespaces.
//
// Errors: errdefs.ErrFailedPrecondition unless the Pod was created and never
// started; errdefs.ErrInvalidArgument for what CRI asks for and cannot be had.
func (p *pod) start(ctx context.Context) (pid int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != podCreated {
		return 0, p.not("created", "started")
	}
	if p.config.needsProcess() {
		err = p.startHolder(ctx)
	} else {
		err = p.lead()
	}
	if err != nil {
		return 0, classify(err)
	}
	p.state = podReady
	return p.pid(), nil
}

// lead gives the namespaces to the main thread.
func (p *pod) lead() error {
	spec := p.spec("")
	config, err := sandbox.FromSpec(spec, spec.Root.Path, []string{"pause"})
	if err != nil {
		return err
	}
	return leader.Enter(config)
}

// startHolder gives the namespaces to a pause process.
func (p *pod) startHolder(ctx context.Context) error {
	var undo undoStack
	defer undo.run()

	path := ""
	if p.config.userNamespace && p.config.network != namespaceNode && p.network != "" {
		user, its, err := userNamespaceOf(p.network)
		if err != nil {
			return err
		}
		defer user.Close()
		path = its
	}
	spec := p.spec(path)
	request := &taskapi.CreateTaskRequest{ID: p.id, Bundle: p.bundle}
	c := p.service.newContainer(request, spec, defaultOptions(), oci.Settings{})
	if err := c.hold(ctx, p.service.namespace, spec, spec.Root.Path, &undo); err != nil {
		return err
	}
	if err := c.init.release(func() {}); err != nil {
		return err
	}
	undo.release()
	p.holder = c
	go func() {
		<-c.init.done
		p.mu.Lock()
		defer p.mu.Unlock()
		p.end(c.init.exitStatus)
	}()
	return nil
}

// pid is that of the process by which CRI names the namespaces of the Pod. mu is
// held.
func (p *pod) pid() int {
	if p.holder != nil {
		return p.holder.init.pid()
	}
	return os.Getpid()
}

// end makes the Pod a stopped one, once. mu is held.
func (p *pod) end(status uint32) {
	if p.state == podStopped {
		return
	}
	p.state = podStopped
	p.exitStatus, p.exitedAt = status, time.Now()
	close(p.stopped)
}

// stop ends the Pod and gives up its namespaces. What its containers have of them
// lives on with their processes; CRI has ended those before. It may be called
// again.
func (p *pod) stop(ctx context.Context) error {
	p.mu.Lock()
	holder := p.holder
	if holder == nil {
		defer p.mu.Unlock()
		if err := leader.Leave(); err != nil {
			return err
		}
		p.end(0)
		return unmountShm(p.bundle)
	}
	p.mu.Unlock()
	if err := holder.init.signal(unix.SIGKILL); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err := holder.init.wait(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(holder.init.exitStatus)
	if !p.released {
		if err := holder.release(); err != nil {
			return err
		}
		p.released = true
	}
	return unmountShm(p.bundle)
}

// remove undoes all that is left of a stopped Pod.
func (p *pod) remove() error {
	if err := os.Remove(filepath.Join(p.bundle, recordFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return p.removeFiles()
}

// wait returns when the Pod is stopped, or with the error of ctx.
func (p *pod) wait(ctx context.Context) error {
	select {
	case <-p.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// adopt prepares the spec of a container for this Pod.
//
// Errors: errdefs.ErrFailedPrecondition unless the Pod is ready.
func (p *pod) adopt(spec *specs.Spec) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != podReady {
		return p.not("ready", "given a container")
	}
	return p.furnish(spec)
}

// metrics are those of the Pod's cgroup, in which those of its containers are.
//
// Errors: errdefs.ErrNotFound when there is no such cgroup,
// errdefs.ErrFailedPrecondition when the Pod was given none.
func (p *pod) metrics() (any, error) {
	if p.config.cgroupParent == "" {
		return nil, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("sandbox %s has no cgroup_parent, whose metrics would be its own", p.id))
	}
	cg, err := cgroup.Load(p.config.cgroupParent)
	if err != nil {
		return nil, fmt.Errorf("metrics of sandbox %s: %w", p.id, err)
	}
	return cg.Stat()
}

// not is the error of a call that the Pod's state forbids. mu is held.
func (p *pod) not(state, verb string) error {
	return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf(
		"sandbox %s is %s, not %s, and cannot be %s", p.id, p.state, state, verb))
}

func (s podState) String() string {
	return [...]string{podCreated: "created", podReady: "ready", podStopped: "stopped"}[s]
}
