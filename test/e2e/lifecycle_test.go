package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
)

func TestCreateReturnsAProcessInTheContainersNamespaces(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainer(t, "hello")
		task := c.create(t)
		pid := int(task.Pid())
		if shims := h.shims(t); len(shims) != 1 || shims[0] == pid {
			t.Errorf("Create returned pid %d; shims are %v", pid, shims)
		}
		for _, ns := range []string{"net", "pid", "mnt", "uts", "ipc"} {
			own, err := os.Readlink("/proc/self/ns/" + ns)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
			if err != nil || theirs == own {
				t.Errorf("%s namespace of the created process: %s, %v", ns, theirs, err)
			}
		}
		if cg, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); !strings.Contains(string(cg), "/"+h.Namespace+"/"+c.ID()) {
			t.Errorf("the created process is in other cgroups:\n%s", cg)
		}
		if out := c.stdout.String(); out != "" {
			t.Errorf("the guest ran before Start: %q", out)
		}
		exit, err := task.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := task.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := code(t, exit); got != 0 {
			t.Errorf("exit code %d", got)
		}
		if int(task.Pid()) != pid {
			t.Errorf("pid was %d at Create and is %d after Start", pid, task.Pid())
		}
		c.remove(t, task)
		if out := c.stdout.String(); out != "hello from probe-c\n" {
			t.Errorf("stdout %q", out)
		}
	})
}

func TestSigkillIs137AndSigtermIs143(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for _, verb := range []string{"sleep", "spin"} {
			for sig, want := range map[syscall.Signal]uint32{syscall.SIGKILL: 137, syscall.SIGTERM: 143} {
				c := h.newContainer(t, verb, "600")
				task, exit := c.start(t)
				within(t, "the guest runs", func() bool { return c.stdout.String() != "" })
				kill(t, task, sig)
				if got := code(t, exit); got != want {
					t.Errorf("%s ended by %v with %d, want %d", verb, sig, got, want)
				}
				c.remove(t, task)
			}
		}
	})
}

func TestCtrKillEndsARunningContainer(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		id := h.NewID("idle")
		r := h.Ctr(t.Context(), "run", "-d", "--null-io", "--runtime", wasm, h.image(t, "idle"), id)
		want(t, r, 0, "", "")
		r = h.Ctr(t.Context(), "tasks", "ls")
		if !strings.Contains(r.Stdout, id) || !strings.Contains(r.Stdout, "RUNNING") {
			t.Errorf("tasks ls: %+v", r)
		}
		want(t, h.Ctr(t.Context(), "tasks", "kill", "-s", "SIGKILL", id), 0, "", "")
		within(t, "the task is STOPPED", func() bool {
			return strings.Contains(h.Ctr(t.Context(), "tasks", "ls").Stdout, "STOPPED")
		})
		if r := h.Ctr(t.Context(), "tasks", "rm", id); r.Code != 137 && r.Code != 0 {
			t.Errorf("tasks rm: %+v", r)
		}
		want(t, h.Ctr(t.Context(), "containers", "rm", id), 0, "", "")
	})
}

func TestKillBeforeStartEndsTheTask(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for sig, want := range map[syscall.Signal]uint32{syscall.SIGKILL: 137, syscall.SIGTERM: 143} {
			c := h.newContainer(t, "hello")
			task := c.create(t)
			exit, err := task.Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			kill(t, task, sig)
			if got := code(t, exit); got != want {
				t.Errorf("%v before Start: exit code %d, want %d", sig, got, want)
			}
			if err := task.Start(t.Context()); err == nil {
				t.Error("a killed task started")
			}
			c.remove(t, task)
			if out := c.stdout.String(); out != "" {
				t.Errorf("the guest ran: %q", out)
			}
		}
	})
}

func TestDeleteOfACreatedTask(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainer(t, "hello")
		task := c.create(t)
		if _, err := task.Delete(t.Context()); err != nil && !errdefs.IsFailedPrecondition(err) {
			t.Errorf("Delete of a created task: %v", err)
		}
		if _, err := task.Delete(t.Context(), client.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("Delete with kill: %v", err)
		}
		c.remove(t, nil)
	})
}

func TestCallsInTheWrongStateHaveTheClassThatCriExpects(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainer(t, "exit", "5")
		task, exit := c.start(t)
		if got := code(t, exit); got != 5 {
			t.Errorf("exit code %d, want 5", got)
		}
		if err := task.Kill(t.Context(), syscall.SIGTERM); !errdefs.IsNotFound(err) {
			t.Errorf("Kill of an ended task: %v, want NotFound", err)
		}
		if err := task.Start(t.Context()); err == nil {
			t.Error("an ended task started again")
		}
		status, err := task.Delete(t.Context())
		if err != nil || status.ExitCode() != 5 {
			t.Errorf("Delete: %v, %v", status, err)
		}
		if _, err := task.Delete(t.Context()); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("second Delete: %v", err)
		}
		if _, err := c.Task(t.Context(), nil); !errdefs.IsNotFound(err) {
			t.Errorf("the deleted task is still there: %v", err)
		}
		c.remove(t, nil)
	})
}

func TestPidsAndMetricsAreTheContainers(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		c := h.newContainer(t, "sleep", "600")
		task, exit := c.start(t)
		pids, err := task.Pids(t.Context())
		if err != nil || len(pids) != 1 || pids[0].Pid != task.Pid() {
			t.Errorf("Pids: %v, %v; want %d alone", pids, err, task.Pid())
		}
		metrics, err := task.Metrics(t.Context())
		if err != nil || !strings.Contains(metrics.GetData().GetTypeUrl(), "io.containerd.cgroups.v") {
			t.Errorf("Metrics: %v, %v", metrics.GetData().GetTypeUrl(), err)
		}
		kill(t, task, syscall.SIGKILL)
		code(t, exit)
		c.remove(t, task)
	})
}

func TestMemoryLimitEndsTheGuestWith137(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		const limit = 64 << 20
		flags := []string{"--memory-limit", strconv.Itoa(limit)}
		got := h.run(t, ctrRun{image: "probe-c", flags: flags, args: []string{"/probe-c.wasm", "allocate", "256"}})
		if got.Code != 137 {
			t.Errorf("over the limit: %+v, want exit code 137", got)
		}
		got = h.run(t, ctrRun{image: "probe-c", flags: flags, args: []string{"/probe-c.wasm", "allocate", "16"}})
		want(t, got, 0, "allocated 16 MiB\n", "")
	})
}

func TestExitBeforeStartReturnsIsSeen(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for i := range 20 {
			c := h.newContainer(t, "exit", strconv.Itoa(i))
			task, exit := c.start(t)
			if got := code(t, exit); got != uint32(i) {
				t.Errorf("exit code %d, want %d", got, i)
			}
			c.remove(t, task)
		}
	})
}
