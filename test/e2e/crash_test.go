package e2e

import (
	"errors"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
)

// killShims kills every shim of the daemon, as the OOM killer does.
func (h *host) killShims(t *testing.T) {
	t.Helper()
	shims := h.shims(t)
	if len(shims) == 0 {
		t.Fatal("no shim runs")
	}
	for _, pid := range shims {
		// One that runs for a single call, such as `delete`, may have ended.
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	within(t, "the shim has gone", func() bool { return len(h.shims(t)) == 0 })
}

// The census at the end of each test says that no process, mount, cgroup,
// socket or file is left.
func TestShimKilledAfterCreateLeavesNothing(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainer(t, "sleep", "600")
		task := c.create(t)
		h.killShims(t)
		within(t, "the waiting process ends with its shim", func() bool { return len(h.runners(t)) == 0 })
		c.removeAfterCrash(t, task)
	})
}

func TestShimKilledAfterStartLeavesNothing(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for _, verb := range []string{"sleep", "spin"} {
			c := h.newContainer(t, verb, "600")
			task, _ := c.start(t)
			within(t, "the guest runs", func() bool { return c.stdout.String() != "" })
			next := h.taskEvents(t)
			h.killShims(t)
			// A call of Wait ends with the connection; clients follow events. Those
			// of the creation and the start may still be on their way.
			e := next()
			for e.topic == "/tasks/create" || e.topic == "/tasks/start" {
				e = next()
			}
			if e.topic != "/tasks/exit" || e.id != c.ID() || e.code != 137 {
				t.Errorf("%s: event %+v, want an exit with 137", verb, e)
			}
			within(t, "the guest ends", func() bool { return len(h.runners(t)) == 0 })
			c.removeAfterCrash(t, task)
		}
	})
}

func TestShimKilledAfterExitLeavesNothing(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainer(t, "exit", "3")
		task, exit := c.start(t)
		if got := code(t, exit); got != 3 {
			t.Errorf("exit code %d, want 3", got)
		}
		h.killShims(t)
		c.removeAfterCrash(t, task)
	})
}

func TestShimKilledWhileContainerdIsDownLeavesNothing(t *testing.T) {
	onOwnDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainer(t, "sleep", "600")
		task, _ := c.start(t)
		if err := h.Kill(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.killShims(t)
		if err := h.Restart(t.Context(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		within(t, "the guest ends", func() bool { return len(h.runners(t)) == 0 })
		c.removeAfterCrash(t, task)
	})
}

// Native containers in the same shim are cleaned up too.
func TestShimKilledWithANativeContainerLeavesNothing(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		id := h.NewID("native")
		r := h.Ctr(t.Context(), "run", "-d", "--null-io", "--runtime", wasm, h.image(t, "native"), id, "/bin/busybox", "sleep", "600")
		want(t, r, 0, "", "")
		h.killShims(t)
		within(t, "the task ends", func() bool {
			r := h.Ctr(t.Context(), "tasks", "rm", "-f", id)
			return r.Code == 0 || r.Code == 137 || h.Ctr(t.Context(), "tasks", "ls", "-q").Stdout == ""
		})
		want(t, h.Ctr(t.Context(), "containers", "rm", id), 0, "", "")
	})
}

// removeAfterCrash deletes what a client would: the task may have gone with its
// shim.
func (c *container) removeAfterCrash(t *testing.T, task client.Task) {
	t.Helper()
	within(t, "containerd lets the task go", func() bool {
		_, err := task.Delete(t.Context(), client.WithProcessKill)
		return err == nil || errdefs.IsNotFound(err)
	})
	if io := task.IO(); io != nil {
		io.Cancel()
		io.Close()
	}
	c.remove(t, nil)
}
