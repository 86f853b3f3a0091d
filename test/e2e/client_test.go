package e2e

import (
	"bytes"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
)

// container is a container driven call by call, where ctr does several at once.
type container struct {
	h      *host
	client *client.Client
	client.Container
	stdout, stderr lockedBuffer
}

// connect returns a client of the daemon.
func (h *host) connect(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(h.Address(), client.WithDefaultNamespace(h.Namespace), client.WithTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// newContainer makes a container of the C probe with a verb, without a task. The
// test removes it; what it does not is counted.
func (h *host) newContainer(t *testing.T, verb ...string) *container {
	t.Helper()
	return h.newContainerOf(t, "probe-c", verb)
}

// newContainerOf does so with any guest, and with additions to its spec.
func (h *host) newContainerOf(t *testing.T, guest string, verb []string, spec ...oci.SpecOpts) *container {
	t.Helper()
	ref := h.image(t, guest)
	c := &container{h: h, client: h.connect(t)}
	img, err := c.client.GetImage(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	id := h.NewID("task")
	c.Container, err = c.client.NewContainer(t.Context(), id,
		client.WithImage(img),
		client.WithNewSnapshot(id, img),
		client.WithNewSpec(append([]oci.SpecOpts{oci.WithImageConfigArgs(img, verb)}, spec...)...),
		client.WithRuntime(wasm, nil))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// create makes the task.
func (c *container) create(t *testing.T) client.Task {
	t.Helper()
	task, err := c.NewTask(t.Context(), cio.NewCreator(
		cio.WithStreams(nil, &c.stdout, &c.stderr), cio.WithFIFODir(c.h.Dir+"/fifo")))
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// start makes and starts the task.
func (c *container) start(t *testing.T) (client.Task, <-chan client.ExitStatus) {
	t.Helper()
	task := c.create(t)
	exit, err := task.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return task, exit
}

// remove deletes the task, if there is one, and the container.
func (c *container) remove(t *testing.T, task client.Task) {
	t.Helper()
	if task != nil {
		if _, err := task.Delete(t.Context()); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("delete the task: %v", err)
		}
	}
	if err := c.Delete(t.Context(), client.WithSnapshotCleanup); err != nil {
		t.Errorf("delete the container: %v", err)
	}
}

// code waits for the end of a task.
func code(t *testing.T, exit <-chan client.ExitStatus) uint32 {
	t.Helper()
	select {
	case status := <-exit:
		if err := status.Error(); err != nil {
			t.Fatalf("wait for the task: %v", err)
		}
		return status.ExitCode()
	case <-time.After(patience):
		t.Fatal("the task does not end")
		return 0
	}
}

func kill(t *testing.T, task client.Task, sig syscall.Signal) {
	t.Helper()
	if err := task.Kill(t.Context(), sig); err != nil {
		t.Errorf("kill with %v: %v", sig, err)
	}
}

// shims returns the pids of the daemon's Wasm shims, and runners those of the
// processes of Wasm containers.
func (h *host) shims(t *testing.T) []int {
	t.Helper()
	return h.pids(t, func(p proc) bool { return p.exe == h.Shim() })
}

func (h *host) runners(t *testing.T) []int {
	t.Helper()
	return h.pids(t, proc.isRunner)
}

func (h *host) pids(t *testing.T, matches func(proc) bool) (pids []int) {
	t.Helper()
	for _, p := range h.procs(t) {
		if matches(p) {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// lockedBuffer is written by the copying of a task's output and read by a test.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
