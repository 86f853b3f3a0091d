package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
)

// lines returns the output of the probe's tick verb.
func lines(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "tick %d\n", i)
	}
	return b.String()
}

func TestContainerSurvivesARestartOfContainerdWithoutLosingOutput(t *testing.T) {
	onOwnDaemon(t, func(t *testing.T, h *host) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			const ticks = 60
			log := filepath.Join(h.Dir, "work", "log")
			id := h.NewID("tick")
			r := h.Ctr(t.Context(), "run", "-d", "--log-uri", "file://"+log, "--runtime", wasm,
				h.image(t, "probe-c"), id, "/probe-c.wasm", "tick", fmt.Sprint(ticks), "50")
			want(t, r, 0, "", "")
			pid := h.taskPid(t, id)
			within(t, "the guest prints", func() bool { b, _ := os.ReadFile(log); return len(b) > 0 })
			if err := h.Restart(t.Context(), sig); err != nil {
				t.Fatal(err)
			}
			if again := h.taskPid(t, id); again != pid || h.taskStatus(t, id) != "RUNNING" {
				t.Errorf("%v: after the restart the task is pid %d, %s; it was %d", sig, again, h.taskStatus(t, id), pid)
			}
			within(t, "the guest ends", func() bool { return h.taskStatus(t, id) == "STOPPED" })
			if b, err := os.ReadFile(log); err != nil || string(b) != lines(ticks) {
				t.Errorf("%v: lines were lost: %v\n%s", sig, err, b)
			}
			want(t, h.Ctr(t.Context(), "tasks", "rm", id), 0, "", "")
			want(t, h.Ctr(t.Context(), "containers", "rm", id), 0, "", "")
			if err := os.Remove(log); err != nil {
				t.Error(err)
			}
		}
	})
}

// CRI reads FIFOs and opens them again after its restart.
func TestOutputWaitsForTheReaderAcrossARestart(t *testing.T) {
	onOwnDaemon(t, func(t *testing.T, h *host) {
		const ticks = 40
		c := h.newContainer(t, "tick", fmt.Sprint(ticks), "50")
		task, _ := c.start(t)
		within(t, "the guest prints", func() bool { return c.stdout.String() != "" })
		if err := h.Restart(t.Context(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		again := h.connect(t)
		found, err := again.LoadContainer(t.Context(), c.ID())
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := found.Task(t.Context(), cio.Load)
		if err != nil {
			t.Fatal(err)
		}
		exit, err := loaded.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := code(t, exit); got != 0 {
			t.Errorf("exit code %d", got)
		}
		if _, err := loaded.Delete(t.Context()); err != nil {
			t.Error(err)
		}
		task.IO().Wait()
		if got := c.stdout.String(); got != lines(ticks) {
			t.Errorf("lines were lost: %q", got)
		}
		if err := found.Delete(t.Context(), client.WithSnapshotCleanup); err != nil {
			t.Error(err)
		}
		task.IO().Close()
	})
}

func TestExitWhileContainerdIsDownIsSeenAfterwards(t *testing.T) {
	onOwnDaemon(t, func(t *testing.T, h *host) {
		id := h.NewID("short")
		r := h.Ctr(t.Context(), "run", "-d", "--null-io", "--runtime", wasm, h.image(t, "probe-c"), id, "/probe-c.wasm", "tick", "10", "50")
		want(t, r, 0, "", "")
		if err := h.Kill(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		within(t, "the guest ends", func() bool { return len(h.runners(t)) == 0 })
		if err := h.Restart(t.Context(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		within(t, "containerd knows that the task has ended", func() bool { return h.taskStatus(t, id) == "STOPPED" })
		want(t, h.Ctr(t.Context(), "tasks", "rm", id), 0, "", "")
		want(t, h.Ctr(t.Context(), "containers", "rm", id), 0, "", "")
	})
}
