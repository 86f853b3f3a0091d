package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"

	"github.com/wasmshim/containerd-shim-wasm/test/census"
)

const shimName = "containerd-shim-wasm-v1"

// Whoever takes part in the creation of a container dies as soon as it is there.
func TestFaultWhoCreatesAContainerIsKilledAtFirstSight(t *testing.T) {
	onFaultDaemonAlone(t, func(t *testing.T, h *host) {
		for _, victim := range []struct {
			name    string
			matches func(proc) bool
		}{
			{"start", func(p proc) bool { return p.is(shimName, "start") }},
			{"shim", func(p proc) bool { return p.exe == h.Shim() && !p.is(shimName, "start") }},
			{"init", func(p proc) bool { return p.is("wasm-runner", "init") }},
			{"runner", func(p proc) bool { return p.is("wasm-runner", "guest") }},
			{"compile", func(p proc) bool { return p.is("wasm-runner", "compile") }},
		} {
			t.Run(victim.name, func(t *testing.T) {
				before := h.census(t)
				h.huntAgain(t, victim.matches, func() { h.createHunted(t) })
				h.assertUsable(t)
				if victim.name == "shim" || victim.name == "start" {
					h.removeDeadSockets(t, before)
				}
				h.assertNothingLeft(t, before)
			})
		}
	})
}

// removeDeadSockets removes what a `start` leaves that dies before it has a server,
// and a shim that dies between its answer and the daemon's first connection:
// containerd asks nobody to clean up then, and the socket stays until the id is used
// again.
func (h *host) removeDeadSockets(t *testing.T, before census.Census) {
	t.Helper()
	for _, line := range h.census(t).Since(before) {
		path, isSocket := strings.CutPrefix(line, "file /run/containerd/s/")
		if isSocket && len(h.shims(t)) == 0 {
			_ = os.Remove("/run/containerd/s/" + path)
		}
	}
}

// createHunted creates a container while somebody hunts, which succeeds when the
// victim was seen too late.
func (h *host) createHunted(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(h.CodeCache()); err != nil {
		t.Fatal(err)
	}
	c := h.newContainer(t, "sleep", "600")
	task, err := c.tryCreate(t)
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("Create says more than a sentence: %v", err)
	}
	t.Logf("Create: %v", err)
	c.conclude(t, task)
}

// The shim, and the daemon, die at moments spread over Create.
func TestFaultShimOrDaemonIsKilledDuringCreate(t *testing.T) {
	onFaultDaemon(t, func(t *testing.T, h *host) {
		var usual time.Duration
		for range 3 {
			c := h.newContainer(t, "sleep", "600")
			var task client.Task
			usual = took(func() { task, _ = c.tryCreate(t) })
			c.conclude(t, task)
		}
		t.Logf("Create takes %v", usual)
		for _, victim := range []string{"shim", "containerd"} {
			if victim == "containerd" && h.Version == "1.6" {
				continue // it keeps a task that was never created (containerd issue 6860)
			}
			for _, m := range moments() {
				t.Run(victim+" "+moment(m), func(t *testing.T) {
					before := h.census(t)
					c := h.newContainer(t, "sleep", "600")
					created := make(chan client.Task, 1)
					go func() {
						task, _ := c.tryCreate(t)
						created <- task
					}()
					time.Sleep(time.Duration(m * float64(usual))) // the moment is the input
					if victim == "shim" {
						for _, p := range h.procs(t) {
							if p.exe == h.Shim() {
								killPid(p.pid)
							}
						}
					} else if err := h.Restart(t.Context(), syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
					c.conclude(t, <-created)
					h.assertUsable(t)
					h.assertNothingLeft(t, before)
				})
			}
		}
	})
}

// tryCreate makes the task; its failure is the test's to judge.
func (c *container) tryCreate(t *testing.T) (client.Task, error) {
	return c.NewTask(t.Context(), cio.NewCreator(
		cio.WithStreams(nil, &c.stdout, &c.stderr), cio.WithFIFODir(c.h.Dir+"/fifo")))
}

// conclude deletes the task, if there is one, and the container, as a client does
// that does not know what has become of them. task is what Create returned.
func (c *container) conclude(t *testing.T, task client.Task) {
	t.Helper()
	cl := c.h.connect(t)
	within(t, "containerd lets the task go", func() bool {
		found := c.h.load(t, cl, c.ID())
		if found == nil {
			return true
		}
		_, err := found.Delete(t.Context(), client.WithProcessKill)
		return err == nil || errdefs.IsNotFound(err)
	})
	if task != nil && task.IO() != nil {
		task.IO().Cancel()
		task.IO().Close()
	}
	found, err := cl.LoadContainer(t.Context(), c.ID())
	if err == nil {
		err = found.Delete(t.Context(), client.WithSnapshotCleanup)
	}
	if err != nil {
		t.Errorf("delete the container: %v", err)
	}
}
