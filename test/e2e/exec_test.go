package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestExecRunsAFurtherModuleInTheContainer(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainer(t, "sleep", "600")
		task, exit := c.start(t)
		exec := func(id string, args ...string) []string {
			return append([]string{"tasks", "exec", "--fifo-dir", filepath.Join(h.Dir, "fifo"), "--exec-id", id, c.ID()}, args...)
		}
		want(t, h.Ctr(t.Context(), exec("one", "/probe-c.wasm", "both")...), 0, "to stdout\n", "to stderr\n")
		want(t, h.Ctr(t.Context(), exec("two", "/probe-c.wasm", "exit", "9")...), 9, "", "")
		// It sees the container's file system, with what others have written.
		want(t, h.Ctr(t.Context(), exec("put", "/probe-c.wasm", "put", "/tmp/x", "text")...), 0, "", "")
		want(t, h.Ctr(t.Context(), exec("read", "/probe-c.wasm", "read", "/tmp/x")...), 0, "text", "")
		if r := h.Ctr(t.Context(), exec("bad", "/missing.wasm")...); r.Code == 0 || !strings.Contains(r.Stderr, "/missing.wasm does not exist") {
			t.Errorf("exec of a missing module: %+v", r)
		}
		kill(t, task, syscall.SIGKILL)
		code(t, exit)
		c.remove(t, task)
	})
}

func TestPauseStopsTheGuestAndResumeLetsItGoOn(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		log := filepath.Join(h.Dir, "work", "paused")
		defer os.Remove(log)
		id := h.NewID("pause")
		r := h.Ctr(t.Context(), "run", "-d", "--log-uri", "file://"+log, "--runtime", wasm,
			h.image(t, "probe-c"), id, "/probe-c.wasm", "tick", "1000000", "50")
		want(t, r, 0, "", "")
		printed := func() string { b, _ := os.ReadFile(log); return string(b) }
		within(t, "the guest prints", func() bool { return printed() != "" })
		want(t, h.Ctr(t.Context(), "tasks", "pause", id), 0, "", "")
		if status := h.taskStatus(t, id); status != "PAUSED" {
			t.Errorf("the task is %s", status)
		}
		before := printed()
		time.Sleep(300 * time.Millisecond) // six ticks of a guest that runs
		if after := printed(); after != before {
			t.Errorf("the paused guest printed %q", after[len(before):])
		}
		want(t, h.Ctr(t.Context(), "tasks", "resume", id), 0, "", "")
		within(t, "the guest goes on", func() bool { return len(printed()) > len(before) })
		want(t, h.Ctr(t.Context(), "tasks", "kill", "-s", "SIGKILL", id), 0, "", "")
		within(t, "the guest ends", func() bool { return h.taskStatus(t, id) == "STOPPED" })
		if got := printed(); got != lines(strings.Count(got, "\n")) {
			t.Errorf("printed %q", got)
		}
		if r := h.Ctr(t.Context(), "tasks", "rm", id); r.Code != 137 && r.Code != 0 {
			t.Errorf("tasks rm: %+v", r)
		}
		want(t, h.Ctr(t.Context(), "containers", "rm", id), 0, "", "")
	})
}
