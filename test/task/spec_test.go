package task

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// shellHook appends the name and the state that it gets on stdin to a file.
func shellHook(name, file string) specs.Hook {
	return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo " + name + " $(cat) >> " + file}}
}

func TestHooksRunAtTheirMoments(t *testing.T) {
	d := newDaemon(t)
	file := filepath.Join(d.dir, "hooks")
	d.bundle("a", wasmtest.Exit(0), func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{
			CreateRuntime:   []specs.Hook{shellHook("createRuntime", file)},
			CreateContainer: []specs.Hook{shellHook("createContainer", file)},
			Poststart:       []specs.Hook{shellHook("poststart", file)},
			Poststop:        []specs.Hook{shellHook("poststop", file)},
		}
	})
	s := d.start("a")
	pid := s.mustCreate("a").Pid
	seen := func(want ...string) {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		if len(lines) != len(want) {
			t.Fatalf("hooks that ran: %q, want %v", lines, want)
		}
		for i, line := range lines {
			name, state, _ := strings.Cut(line, " ")
			if name != want[i] {
				t.Errorf("hook %d is %s, want %s", i, name, want[i])
			}
			var st specs.State
			if err := json.Unmarshal([]byte(state), &st); err != nil || st.ID != "a" || st.Bundle != filepath.Join(d.dir, "a") {
				t.Errorf("%s got the state %q: %v", name, state, err)
			}
			if name == "createRuntime" && st.Pid != int(pid) {
				t.Errorf("createRuntime got pid %d, want %d", st.Pid, pid)
			}
		}
	}
	seen("createRuntime", "createContainer")
	s.mustStart("a")
	seen("createRuntime", "createContainer", "poststart")
	s.wait("a")
	if _, err := s.delete("a"); err != nil {
		t.Fatal(err)
	}
	seen("createRuntime", "createContainer", "poststart", "poststop")
	d.cleanup("a") // as a daemon does when the shim has ended
	seen("createRuntime", "createContainer", "poststart", "poststop")
}

func TestAFailingHookFailsCreateAndIsUndone(t *testing.T) {
	d := newDaemon(t)
	file := filepath.Join(d.dir, "hooks")
	d.bundle("a", wasmtest.Exit(0), func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{
			CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no device >&2; exit 3"}}},
			Poststop:      []specs.Hook{shellHook("poststop", file)},
		}
	})
	s := d.start("a")
	_, err := s.create("a")
	if err == nil || !strings.Contains(err.Error(), "hooks.createRuntime[0]") || !strings.Contains(err.Error(), "no device") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(b), "poststop ") {
		t.Errorf("%q, %v", b, err)
	}
	d.assertNothingLeft()
}

func TestEveryProcessIsUnderTheProfileOfItsContainer(t *testing.T) {
	ctx := context.Background()
	d := newDaemon(t)
	b, err := os.ReadFile("../../sandbox/testdata/containerd-seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	var profile specs.LinuxSeccomp
	if err := json.Unmarshal(b, &profile); err != nil {
		t.Fatal(err)
	}
	d.bundle("a", spin(), func(s *specs.Spec) { s.Linux.Seccomp = &profile })
	s := d.start("a")
	pids := []uint32{s.mustCreate("a").Pid}
	s.mustStart("a")
	for i, args := range [][]string{{"/app.wasm"}, {"sleep", "60"}} {
		id := fmt.Sprint("e", i)
		if _, err := s.Exec(ctx, s.execRequest(id, args...)); err != nil {
			t.Fatal(err)
		}
		resp, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: id})
		if err != nil {
			t.Fatalf("%v: %v", args, errgrpc.ToNative(err))
		}
		pids = append(pids, resp.Pid)
	}
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(status), "\nSeccomp:\t2\n") {
			t.Errorf("process %d has no filter:\n%s", pid, status)
		}
	}
	if err := s.kill("a", unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.wait("a")
}
