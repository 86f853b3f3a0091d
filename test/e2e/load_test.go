package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// The daemon is killed and stopped again and again while containers are created,
// run, executed in and deleted. Clients repeat what failed, as kubelet does.
func TestFaultContainerdRestartsUnderLoad(t *testing.T) {
	onFaultDaemon(t, func(t *testing.T, h *host) {
		if h.Version == "1.6" {
			return // it keeps a task that was never created (containerd issue 6860)
		}
		cl := h.connect(t)
		stop := make(chan struct{})
		var done atomic.Int64
		var mu sync.Mutex
		var errs []error
		var wg sync.WaitGroup
		const workers = 6
		for w := range workers {
			wg.Go(func() {
				for i := w; ; i += workers {
					select {
					case <-stop:
						return
					default:
					}
					if err := h.lifeUnderRestarts(t, cl, i); err != nil {
						mu.Lock()
						errs = append(errs, fmt.Errorf("container %d: %w", i, err))
						mu.Unlock()
					}
					done.Add(1)
				}
			})
		}
		restarts := 6
		if theSuite.faults {
			restarts = 30
		}
		for i := range restarts {
			// Some work is done between two restarts.
			target := done.Load() + 3
			within(t, "containers are run", func() bool { return done.Load() >= target })
			if err := h.Restart(t.Context(), []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[i%2]); err != nil {
				t.Error(err)
				break
			}
		}
		close(stop)
		wg.Wait()
		t.Logf("%d containers during %d restarts", done.Load(), restarts)
		h.removeHiddenBundles(t)
		h.removeLeases(t)
		if len(errs) > 0 {
			t.Error(errors.Join(errs...))
		}
	})
}

// lifeUnderRestarts takes a container through its life while its daemon comes and
// goes, and fails when it is lost after its start, when a line of its output is
// missing, or when an exit code is wrong.
func (h *host) lifeUnderRestarts(t *testing.T, cl *client.Client, i int) error {
	// Longer than all of it takes, and bound to end.
	ctx, cancel := context.WithTimeout(t.Context(), runTime)
	defer cancel()
	again := func(f func() error) error {
		for {
			err := f()
			if err == nil || ctx.Err() != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond) // as a client that comes back
		}
	}
	id, log := h.NewID("load"), ""
	log = filepath.Join(h.Dir, "work", id)
	defer os.Remove(log)
	var c client.Container
	err := again(func() (err error) {
		if c, err = cl.LoadContainer(ctx, id); err == nil {
			return nil
		}
		img, err := cl.GetImage(ctx, "localhost/probe-c:1")
		if err != nil {
			return err
		}
		// One that failed after the snapshot was made.
		_ = cl.SnapshotService("overlayfs").Remove(ctx, id)
		c, err = cl.NewContainer(ctx, id, client.WithImage(img), client.WithNewSnapshot(id, img), client.WithRuntime(wasm, nil),
			client.WithNewSpec(oci.WithImageConfigArgs(img, []string{"tick", "40", "20"})))
		return err
	})
	if err != nil {
		return fmt.Errorf("new container: %w", err)
	}
	// Until it has started, a creation that the daemon died in may be undone.
	var task client.Task
	err = again(func() (err error) {
		if task, err = c.Task(ctx, nil); errdefs.IsNotFound(err) {
			_ = os.Remove(log)
			task, err = c.NewTask(ctx, cio.LogFile(log))
		}
		if err != nil {
			return err
		}
		if err = task.Start(ctx); err == nil {
			return nil
		}
		if status, statusErr := task.Status(ctx); statusErr == nil && status.Status != client.Created {
			return nil // an answer that was lost
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	// Exec, as often as the daemon makes necessary, while the guest runs.
	execErr := h.execUnderRestarts(ctx, task, i)
	var status client.Status
	err = again(func() (err error) {
		if status, err = task.Status(ctx); err == nil && status.Status != client.Stopped {
			err = errors.New("it runs")
		}
		if errdefs.IsNotFound(err) {
			cancel()
			err = fmt.Errorf("lost: %w", err)
		}
		return err
	})
	if err == nil && status.ExitStatus != 0 {
		err = fmt.Errorf("exit code %d, want 0", status.ExitStatus)
	}
	if b, readErr := os.ReadFile(log); err == nil && string(b) != lines(40) {
		err = fmt.Errorf("output %q, %v", b, readErr)
	}
	err = errors.Join(err, execErr)
	ctx, cancel = context.WithTimeout(t.Context(), runTime)
	defer cancel()
	deleted := again(func() error {
		if _, err := task.Delete(ctx, client.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		if err := c.Delete(ctx, client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		return nil
	})
	return errors.Join(err, deleted)
}

// execUnderRestarts runs one process to its end. What the daemon's absence fails
// is no error; a wrong exit code is.
func (h *host) execUnderRestarts(ctx context.Context, task client.Task, i int) error {
	want := uint32(1 + i%200)
	p, err := task.Exec(ctx, "further", &specs.Process{Args: []string{"/probe-c.wasm", "exit", fmt.Sprint(want)}, Cwd: "/"}, cio.NullIO)
	if err != nil {
		return nil
	}
	exit, err := p.Wait(ctx)
	if err != nil || p.Start(ctx) != nil {
		return nil
	}
	status := <-exit
	if status.Error() != nil {
		// The call ended with the daemon; the status is still there.
		for range 500 {
			if s, err := p.Status(ctx); err == nil && s.Status == client.Stopped {
				if s.ExitStatus != want {
					return fmt.Errorf("after a restart a process has exit code %d, want %d", s.ExitStatus, want)
				}
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	} else if status.ExitCode() != want {
		return fmt.Errorf("a process has exit code %d, want %d", status.ExitCode(), want)
	}
	_, _ = p.Delete(ctx)
	return nil
}
