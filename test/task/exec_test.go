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
	"github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// runningContainer starts a guest that spins, with more modules in its image.
func runningContainer(t *testing.T, modules map[string][]byte) *shim {
	t.Helper()
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	for name, module := range modules {
		if err := os.WriteFile(filepath.Join(d.dir, "a", "rootfs", name), module, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := d.start("a")
	s.mustCreate("a")
	s.mustStart("a")
	return s
}

// execRequest is an exec of args as a daemon sends it, with stdout in a file.
func (s *shim) execRequest(id string, args ...string) *taskapi.ExecProcessRequest {
	s.d.t.Helper()
	spec, err := json.Marshal(&specs.Process{Args: args, Cwd: "/", Env: []string{"KEY=value"}})
	if err != nil {
		s.d.t.Fatal(err)
	}
	out := filepath.Join(s.d.dir, "stdout-"+id)
	if err := os.WriteFile(out, nil, 0o600); err != nil {
		s.d.t.Fatal(err)
	}
	return &taskapi.ExecProcessRequest{ID: "a", ExecID: id, Spec: &anypb.Any{Value: spec}, Stdout: out, Stderr: out}
}

// exec runs args to the end and returns the exit status and the output.
func (s *shim) exec(id string, args ...string) (uint32, string) {
	s.d.t.Helper()
	ctx := context.Background()
	r := s.execRequest(id, args...)
	if _, err := s.Exec(ctx, r); err != nil {
		s.d.t.Fatal(err)
	}
	if _, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: id}); err != nil {
		s.d.t.Fatal(err)
	}
	resp, err := s.Wait(ctx, &taskapi.WaitRequest{ID: "a", ExecID: id})
	if err != nil {
		s.d.t.Fatal(err)
	}
	deleted, err := s.Delete(ctx, &taskapi.DeleteRequest{ID: "a", ExecID: id})
	if err != nil || deleted.ExitStatus != resp.ExitStatus || deleted.Pid == 0 {
		s.d.t.Errorf("delete: %v, %v", deleted, err)
	}
	b, err := os.ReadFile(r.Stdout)
	if err != nil {
		s.d.t.Fatal(err)
	}
	return resp.ExitStatus, string(b)
}

func TestExecRunsAnotherModuleOfTheImage(t *testing.T) {
	s := runningContainer(t, map[string][]byte{"print.wasm": wasmtest.Print("from exec\n"), "exit.wasm": wasmtest.Exit(9)})
	if status, out := s.exec("e1", "/print.wasm"); status != 0 || out != "from exec\n" {
		t.Errorf("exit status %d, output %q", status, out)
	}
	if status, _ := s.exec("e2", "exit.wasm"); status != 9 {
		t.Errorf("exit status %d, want 9", status)
	}
	if err := s.kill("a", unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.wait("a")
	if _, err := s.delete("a"); err != nil {
		t.Error(err)
	}
	s.d.assertEvents("a", "create", "start", "added e1", "started e1", "exit e1 0",
		"added e2", "started e2", "exit e2 9", "exit 137", "delete 137")
}

// process.execCPUAffinity is for further processes alone.
func TestExecRunsOnTheProcessorsOfItsSpec(t *testing.T) {
	s := runningContainer(t, nil)
	for _, test := range []struct{ affinity, want string }{
		{`{"initial":"0","final":"0"}`, "Cpus_allowed_list:\t0\n"},
		{`{"initial":"8000"}`, "process.execCPUAffinity.initial"},
		{`{"final":"8000"}`, "process.execCPUAffinity.final"},
	} {
		id := fmt.Sprint("e", len(test.want))
		r := s.execRequest(id, "cat", "/proc/self/status")
		r.Spec.Value = []byte(strings.Replace(string(r.Spec.Value), "{", `{"execCPUAffinity":`+test.affinity+",", 1))
		if _, err := s.Exec(context.Background(), r); err != nil {
			t.Fatal(err)
		}
		_, err := s.Start(context.Background(), &taskapi.StartRequest{ID: "a", ExecID: id})
		if err == nil {
			_, err = s.Wait(context.Background(), &taskapi.WaitRequest{ID: "a", ExecID: id})
		}
		out, readErr := os.ReadFile(r.Stdout)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if got := fmt.Sprint(string(out), err); !strings.Contains(got, test.want) {
			t.Errorf("%s: %s", test.affinity, got)
		}
	}
}

func TestExecIsInsideTheContainer(t *testing.T) {
	ctx := context.Background()
	s := runningContainer(t, nil)
	if _, err := s.Exec(ctx, s.execRequest("e", "/app.wasm")); err != nil {
		t.Fatal(err)
	}
	started, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: "e"})
	if err != nil {
		t.Fatal(err)
	}
	state, err := s.State(ctx, &taskapi.StateRequest{ID: "a", ExecID: "e"})
	if err != nil || state.Status != tasktypes.Status_RUNNING || state.Pid != started.Pid || state.ExecID != "e" {
		t.Errorf("state: %v, %v", state, err)
	}
	connected, err := s.Connect(ctx, &taskapi.ConnectRequest{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"ns/pid", "ns/mnt", "ns/net", "ns/ipc", "ns/uts", "ns/cgroup", "root", "cgroup"} {
		of := func(pid uint32) string {
			path := fmt.Sprintf("/proc/%d/%s", pid, file)
			if file == "cgroup" {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			if file == "root" {
				var st unix.Stat_t
				if err := unix.Stat(path, &st); err != nil {
					t.Fatal(err)
				}
				return fmt.Sprint(st.Dev, st.Ino)
			}
			target, err := os.Readlink(path)
			if err != nil {
				t.Fatal(err)
			}
			return target
		}
		if init, exec := of(connected.TaskPid), of(started.Pid); init != exec {
			t.Errorf("%s: the init has %s, the exec %s", file, init, exec)
		}
	}
	pids, err := s.Pids(ctx, &taskapi.PidsRequest{ID: "a"})
	if err != nil || len(pids.Processes) != 2 {
		t.Fatalf("pids: %v, %v", pids, err)
	}
	for _, p := range pids.Processes {
		if p.Pid != started.Pid {
			continue
		}
		v, err := typeurl.UnmarshalAny(p.Info)
		if details, ok := v.(*options.ProcessDetails); err != nil || !ok || details.ExecID != "e" {
			t.Errorf("details of the exec: %v, %v", v, err)
		}
	}
	if _, err := s.Delete(ctx, &taskapi.DeleteRequest{ID: "a", ExecID: "e"}); !errdefs.IsFailedPrecondition(errgrpc.ToNative(err)) {
		t.Errorf("delete of a running exec: %v", err)
	}
}

func TestTheInitsExitIsTheLastOfItsContainer(t *testing.T) {
	ctx := context.Background()
	for name, all := range map[string]bool{"own pid namespace": false, "kill of all": true} {
		t.Run(name, func(t *testing.T) {
			s := runningContainer(t, nil)
			for _, id := range []string{"e1", "e2"} {
				if _, err := s.Exec(ctx, s.execRequest(id, "/app.wasm")); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: "e1"}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Kill(ctx, &taskapi.KillRequest{ID: "a", Signal: 9, All: all}); err != nil {
				t.Fatal(err)
			}
			s.wait("a")
			if _, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: "e2"}); !errdefs.IsFailedPrecondition(errgrpc.ToNative(err)) {
				t.Errorf("start in an ended container: %v", err)
			}
			if _, err := s.delete("a"); err != nil {
				t.Error(err)
			}
			s.d.assertEvents("a", "create", "start", "added e1", "added e2", "started e1", "exit e1 137", "exit 137", "delete 137")
		})
	}
}

func TestExecRunsBuiltInCommands(t *testing.T) {
	s := runningContainer(t, map[string][]byte{"print.wasm": wasmtest.Exit(0), "motd": []byte("hello\n")})
	for i, test := range []struct {
		args   []string
		status uint32
		says   string
	}{
		{[]string{"ls", "/"}, 0, "app.wasm\n"},
		{[]string{"cat", "/motd"}, 0, "hello\n"},
		{[]string{"env"}, 0, "KEY=value\n"},
		{[]string{"ps"}, 0, "wasm-runner guest /app.wasm"},
		{[]string{"id"}, 0, "uid=0"},
		{[]string{"cat", "/none"}, 1, "/none"},
		{[]string{"help"}, 0, "stat"},
	} {
		status, out := s.exec(fmt.Sprint("e", i), test.args...)
		if status != test.status || !strings.Contains(out, test.says) {
			t.Errorf("%v: exit status %d, output %q", test.args, status, out)
		}
	}
}

func TestExecSaysWhatCannotBeExecuted(t *testing.T) {
	ctx := context.Background()
	s := runningContainer(t, map[string][]byte{"script": []byte("#!/bin/sh\n")})
	for i, test := range []struct {
		name, arg string
		class     error
		says      string
	}{
		{"no such module", "/none.wasm", errdefs.ErrNotFound, "/none.wasm"},
		{"a shell", "sh", errdefs.ErrInvalidArgument, "commands that can: cat"},
		{"a script of the image", "/script", errdefs.ErrInvalidArgument, "/script"},
		{"a missing export", "/app.wasm#nope", errdefs.ErrInvalidArgument, "nope"},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := fmt.Sprint("e", i)
			if _, err := s.Exec(ctx, s.execRequest(id, test.arg)); err != nil {
				t.Fatal(err)
			}
			_, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: id})
			got := errgrpc.ToNative(err)
			if got == nil || !strings.Contains(got.Error(), test.says) || errdefs.Resolve(got) != test.class {
				t.Errorf("got %v, want class %v", got, test.class)
			}
			if _, err := s.Delete(ctx, &taskapi.DeleteRequest{ID: "a", ExecID: id}); err != nil {
				t.Error(err)
			}
			if _, err := s.State(ctx, &taskapi.StateRequest{ID: "a", ExecID: id}); !errdefs.IsNotFound(errgrpc.ToNative(err)) {
				t.Errorf("state of a deleted exec: %v", err)
			}
		})
	}
	if err := s.kill("a", 0); err != nil {
		t.Errorf("the container suffered: %v", err)
	}
}

func TestATerminalTranslatesLines(t *testing.T) {
	ctx := context.Background()
	s := runningContainer(t, map[string][]byte{"print.wasm": wasmtest.Print("one\ntwo\n")})
	r := s.execRequest("tty", "/print.wasm")
	r.Terminal, r.Stderr = true, ""
	if _, err := s.Exec(ctx, r); err != nil {
		t.Fatal(err)
	}
	resize := &taskapi.ResizePtyRequest{ID: "a", ExecID: "tty", Width: 100, Height: 40}
	if _, err := s.ResizePty(ctx, resize); !errdefs.IsFailedPrecondition(errgrpc.ToNative(err)) {
		t.Errorf("resize before the start: %v", err)
	}
	if _, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: "tty"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ResizePty(ctx, resize); err != nil {
		t.Errorf("resize: %v", err)
	}
	if _, err := s.Wait(ctx, &taskapi.WaitRequest{ID: "a", ExecID: "tty"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(ctx, &taskapi.DeleteRequest{ID: "a", ExecID: "tty"}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(r.Stdout)
	if err != nil || string(b) != "one\r\ntwo\r\n" {
		t.Errorf("output %q, %v", b, err)
	}
}
