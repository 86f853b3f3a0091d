package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	taskapi2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// spin is a guest that never ends by itself.
func spin() []byte {
	var m wasmtest.Module
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), wasmtest.Loop()))
	m.Memory(1)
	m.Export("memory", wasmtest.KindMemory, 0)
	return m.Bytes()
}

// states are the ways to bring a container into each state, calls what may be
// asked of it there, and want the errdefs class of each answer; nil is success.
func TestEveryCallInEveryState(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	states := []struct {
		name  string
		enter func(s *shim, id string)
	}{
		{"unknown", func(*shim, string) {}},
		{"created", func(s *shim, id string) { s.mustCreate(id) }},
		{"running", func(s *shim, id string) { s.mustCreate(id); s.mustStart(id) }},
		{"paused", func(s *shim, id string) {
			s.mustCreate(id)
			s.mustStart(id)
			if _, err := s.Pause(ctx, &taskapi.PauseRequest{ID: id}); err != nil {
				s.d.t.Fatal(err)
			}
		}},
		{"stopped", func(s *shim, id string) {
			s.mustCreate(id)
			s.mustStart(id)
			if err := s.kill(id, unix.SIGKILL); err != nil {
				s.d.t.Fatal(err)
			}
			s.wait(id)
		}},
		{"deleted", func(s *shim, id string) {
			s.mustCreate(id)
			if _, err := s.delete(id); err != nil {
				s.d.t.Fatal(err)
			}
		}},
	}
	nf, fp, ni, ex := errdefs.ErrNotFound, errdefs.ErrFailedPrecondition, errdefs.ErrNotImplemented, errdefs.ErrAlreadyExists
	calls := []struct {
		name string
		call func(s *shim, id string) error
		want [6]error // in the order of states
	}{
		{"Create", func(s *shim, id string) error { _, err := s.create(id); return err }, [6]error{nil, ex, ex, ex, ex, nil}},
		{"Start", func(s *shim, id string) error {
			_, err := s.Start(ctx, &taskapi.StartRequest{ID: id})
			return err
		}, [6]error{nf, nil, fp, fp, fp, nf}},
		{"Start of an unknown process", func(s *shim, id string) error {
			_, err := s.Start(ctx, &taskapi.StartRequest{ID: id, ExecID: "x"})
			return err
		}, [6]error{nf, nf, nf, nf, nf, nf}},
		{"Kill SIGKILL", func(s *shim, id string) error { return s.kill(id, unix.SIGKILL) }, [6]error{nf, nil, nil, nil, nf, nf}},
		{"Kill SIGTERM", func(s *shim, id string) error { return s.kill(id, unix.SIGTERM) }, [6]error{nf, nil, nil, nil, nf, nf}},
		{"Kill 0", func(s *shim, id string) error { return s.kill(id, 0) }, [6]error{nf, nil, nil, nil, nf, nf}},
		{"Kill of all", func(s *shim, id string) error {
			_, err := s.Kill(ctx, &taskapi.KillRequest{ID: id, Signal: 9, All: true})
			return err
		}, [6]error{nf, nil, nil, nil, nf, nf}},
		{"Delete", func(s *shim, id string) error { _, err := s.delete(id); return err }, [6]error{nf, nil, fp, fp, nil, nf}},
		{"State", func(s *shim, id string) error {
			_, err := s.State(ctx, &taskapi.StateRequest{ID: id})
			return err
		}, [6]error{nf, nil, nil, nil, nil, nf}},
		{"Pids", func(s *shim, id string) error {
			_, err := s.Pids(ctx, &taskapi.PidsRequest{ID: id})
			return err
		}, [6]error{nf, nil, nil, nil, nil, nf}},
		{"Stats", func(s *shim, id string) error {
			_, err := s.Stats(ctx, &taskapi.StatsRequest{ID: id})
			return err
		}, [6]error{nf, nil, nil, nil, nil, nf}},
		{"CloseIO", func(s *shim, id string) error {
			_, err := s.CloseIO(ctx, &taskapi.CloseIORequest{ID: id, Stdin: true})
			return err
		}, [6]error{nf, nil, nil, nil, nil, nf}},
		{"Connect", func(s *shim, id string) error {
			_, err := s.Connect(ctx, &taskapi.ConnectRequest{ID: id})
			return err
		}, [6]error{nil, nil, nil, nil, nil, nil}},
		{"Exec", func(s *shim, id string) error {
			_, err := s.Exec(ctx, &taskapi.ExecProcessRequest{ID: id, ExecID: "x", Spec: &anypb.Any{Value: []byte(`{"args":["/app.wasm"],"cwd":"/"}`)}})
			return err
		}, [6]error{nf, nil, nil, nil, fp, nf}},
		{"ResizePty", func(s *shim, id string) error {
			_, err := s.ResizePty(ctx, &taskapi.ResizePtyRequest{ID: id})
			return err
		}, [6]error{nf, fp, fp, fp, fp, nf}},
		{"Pause", func(s *shim, id string) error {
			_, err := s.Pause(ctx, &taskapi.PauseRequest{ID: id})
			return err
		}, [6]error{nf, fp, nil, fp, fp, nf}},
		{"Resume", func(s *shim, id string) error {
			_, err := s.Resume(ctx, &taskapi.ResumeRequest{ID: id})
			return err
		}, [6]error{nf, fp, fp, nil, fp, nf}},
		{"Update", func(s *shim, id string) error {
			_, err := s.Update(ctx, &taskapi.UpdateTaskRequest{ID: id, Resources: &anypb.Any{Value: []byte(`{"pids":{"limit":500}}`)}})
			return err
		}, [6]error{nf, nil, nil, nil, fp, nf}},
		{"Checkpoint", func(s *shim, id string) error {
			_, err := s.Checkpoint(ctx, &taskapi.CheckpointTaskRequest{ID: id})
			return err
		}, [6]error{nf, ni, ni, ni, ni, nf}},
	}
	d := newDaemon(t)
	d.bundle("keep", spin(), nil)
	s := d.start("keep")
	for i, state := range states {
		for j, call := range calls {
			t.Run(call.name+"/"+state.name, func(t *testing.T) {
				id := fmt.Sprintf("c%d-%d", i, j)
				d.bundle(id, spin(), nil)
				state.enter(s, id)
				got := errgrpc.ToNative(call.call(s, id))
				if !errors.Is(got, call.want[i]) {
					t.Errorf("got %v, want %v", got, call.want[i])
				}
				_ = s.kill(id, unix.SIGKILL)
				if state.name != "unknown" && state.name != "deleted" || call.name == "Create" {
					if call.name != "Delete" || state.name == "running" || state.name == "paused" {
						s.wait(id)
						if _, err := s.delete(id); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
}

func TestLifeOfATask(t *testing.T) {
	d := newDaemon(t)
	bundle := d.bundle("a", wasmtest.Exit(7), nil)
	s := d.start("a")
	pid := s.mustCreate("a").Pid
	state := func() *taskapi.StateResponse {
		t.Helper()
		resp, err := s.State(context.Background(), &taskapi.StateRequest{ID: "a"})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if st := state(); st.Status != tasktypes.Status_CREATED || st.Pid != pid || st.Bundle != bundle {
		t.Errorf("after Create: %v", st)
	}
	// Docker and CRI look at this between Create and Start.
	own, err1 := os.Readlink("/proc/self/ns/net")
	guest, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err := errors.Join(err1, err2); err != nil || own == guest {
		t.Errorf("network namespace %s of pid %d: %v", guest, pid, err)
	}
	s.mustStart("a")
	if status := s.wait("a"); status != 7 {
		t.Errorf("exit status %d, want 7", status)
	}
	if st := state(); st.Status != tasktypes.Status_STOPPED || st.ExitStatus != 7 || st.ExitedAt == nil {
		t.Errorf("after the exit: %v", st)
	}
	resp, err := s.delete("a")
	if err != nil || resp.Pid != pid || resp.ExitStatus != 7 {
		t.Errorf("delete: %v, %v", resp, err)
	}
	d.assertEvents("a", "create", "start", "exit 7", "delete 7")
}

func TestVersion2OfTheTaskAPI(t *testing.T) {
	ctx := context.Background()
	d := newDaemon(t)
	d.bundle("a", wasmtest.Exit(3), nil)
	s := taskapi2.NewTTRPCTaskClient(d.start("a").client)
	created, err := s.Create(ctx, &taskapi2.CreateTaskRequest{ID: "a", Bundle: filepath.Join(d.dir, "a")})
	if err != nil {
		t.Fatal(err)
	}
	started, err := s.Start(ctx, &taskapi2.StartRequest{ID: "a"})
	if err != nil || started.Pid != created.Pid {
		t.Fatalf("%v, %v", started, err)
	}
	if resp, err := s.Wait(ctx, &taskapi2.WaitRequest{ID: "a"}); err != nil || resp.ExitStatus != 3 {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := s.Delete(ctx, &taskapi2.DeleteRequest{ID: "a"}); err != nil {
		t.Error(err)
	}
	if _, err := s.State(ctx, &taskapi2.StateRequest{ID: "a"}); !errdefs.IsNotFound(errgrpc.ToNative(err)) {
		t.Errorf("state of a deleted task: %v", err)
	}
}

func TestPausedGuestsStandStillAndCanBeKilled(t *testing.T) {
	ctx := context.Background()
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	pid := s.mustCreate("a").Pid
	s.mustStart("a")
	if _, err := s.Pause(ctx, &taskapi.PauseRequest{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if st, err := s.State(ctx, &taskapi.StateRequest{ID: "a"}); err != nil || st.Status != tasktypes.Status_PAUSED {
		t.Errorf("%v, %v", st, err)
	}
	before := cpuTime(t, pid)
	time.Sleep(50 * time.Millisecond) // nothing may happen in it
	if after := cpuTime(t, pid); after != before {
		t.Errorf("a paused guest used the CPU: %s, then %s", before, after)
	}
	if _, err := s.Resume(ctx, &taskapi.ResumeRequest{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pause(ctx, &taskapi.PauseRequest{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := s.kill("a", unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := s.wait("a"); status != 143 {
		t.Errorf("exit status %d, want 143", status)
	}
	if _, err := s.delete("a"); err != nil {
		t.Error(err)
	}
	d.assertEvents("a", "create", "start", "paused", "resumed", "paused", "exit 143", "delete 143")
}

// cpuTime returns utime and stime of a process.
func cpuTime(t *testing.T, pid uint32) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b))
	// The name in parentheses, which would shift them, is one word here.
	return fields[13] + "+" + fields[14]
}

func TestOutOfMemoryIsAnEventBeforeTheExit(t *testing.T) {
	d := newDaemon(t)
	limit := int64(32 << 20)
	d.bundle("a", eat(), func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}}
	})
	s := d.start("a")
	s.mustCreate("a")
	s.mustStart("a")
	if status := s.wait("a"); status != 137 {
		t.Errorf("exit status %d, want 137", status)
	}
	if _, err := s.delete("a"); err != nil {
		t.Error(err)
	}
	d.assertEvents("a", "create", "start", "oom", "exit 137", "delete 137")
}

// eat is a guest that grows its memory and writes into every page until it is
// stopped.
func eat() []byte {
	var m wasmtest.Module
	const i32Const, i32Load, i32Store, i32Add, memoryGrow, drop, localGet, localSet = 0x41, 0x28, 0x36, 0x6a, 0x40, 0x1a, 0x20, 0x21
	step := []byte{
		i32Const, 1, memoryGrow, 0, drop,
		// mem[local0] = local0; local0 += 4096
		localGet, 0, localGet, 0, i32Store, 2, 0,
		localGet, 0, i32Const, 0x80, 0x20, i32Add, localSet, 0,
	}
	m.Memory(1)
	locals := []byte{1, 1, 0x7f} // one i32
	m.Export("_start", wasmtest.KindFunc, m.FuncWithLocals(m.Type(nil, nil), locals, wasmtest.Loop(step)))
	m.Export("memory", wasmtest.KindMemory, 0)
	return m.Bytes()
}

func TestKillBeforeStart(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	s.mustCreate("a")
	if err := s.kill("a", unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := s.wait("a"); status != 143 {
		t.Errorf("exit status %d, want 143", status)
	}
	if _, err := s.Start(context.Background(), &taskapi.StartRequest{ID: "a"}); !errdefs.IsFailedPrecondition(errgrpc.ToNative(err)) {
		t.Errorf("start of a killed task: %v", err)
	}
	if _, err := s.delete("a"); err != nil {
		t.Error(err)
	}
	d.assertEvents("a", "create", "exit 143", "delete 143")
}

func TestDeleteOfACreatedTask(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	pid := s.mustCreate("a").Pid
	resp, err := s.delete("a")
	if err != nil || resp.ExitStatus != 137 || resp.Pid != pid {
		t.Errorf("%v, %v", resp, err)
	}
	d.assertEvents("a", "create", "exit 137", "delete 137")
}

func TestExitBeforeStartReturnsKeepsTheOrderOfEvents(t *testing.T) {
	d := newDaemon(t)
	d.bundle("keep", spin(), nil)
	s := d.start("keep")
	for i := range 20 {
		id := fmt.Sprint("c", i)
		d.bundle(id, wasmtest.Exit(0), nil)
		s.mustCreate(id)
		s.mustStart(id)
		s.wait(id)
		if _, err := s.delete(id); err != nil {
			t.Fatal(err)
		}
		d.assertEvents(id, "create", "start", "exit 0", "delete 0")
	}
}

func args(a ...string) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Process.Args = a }
}

func annotation(key, value string) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Annotations = map[string]string{key: value} }
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestContainersOfAGroupShareAShim(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), annotation("io.kubernetes.cri.sandbox-id", "pod"))
	d.bundle("b", wasmtest.Exit(0), annotation("io.kubernetes.cri.sandbox-id", "pod"))
	s := d.start("a")
	out, err := d.shimCommand("b", "start").Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != s.address {
		t.Errorf("second start printed %q, want %q", out, s.address)
	}
	s.mustCreate("a")
	s.mustCreate("b")
	s.mustStart("b")
	if status := s.wait("b"); status != 0 {
		t.Errorf("exit status %d", status)
	}
	// The daemon cleans up one container while the shim serves the other.
	d.cleanup("b")
	if _, err := s.Connect(context.Background(), &taskapi.ConnectRequest{ID: "a"}); err != nil {
		t.Errorf("the group's shim is gone: %v", err)
	}
	if _, err := os.Stat(strings.TrimPrefix(s.address, "unix://")); err != nil {
		t.Errorf("the group's socket is gone: %v", err)
	}
}

// assertEvents waits for the last event of a container and compares them all.
func (d *daemon) assertEvents(id string, want ...string) {
	d.t.Helper()
	var got []string
	d.waitEvents(func(events []any) bool {
		got = nil
		for _, event := range events {
			switch e := event.(type) {
			case *eventsapi.TaskCreate:
				got = appendIf(got, e.ContainerID == id, "create")
			case *eventsapi.TaskStart:
				got = appendIf(got, e.ContainerID == id, "start")
			case *eventsapi.TaskExecAdded:
				got = appendIf(got, e.ContainerID == id, "added "+e.ExecID)
			case *eventsapi.TaskExecStarted:
				got = appendIf(got, e.ContainerID == id, "started "+e.ExecID)
			case *eventsapi.TaskExit:
				what := "exit "
				if e.ID != id {
					what += e.ID + " "
				}
				got = appendIf(got, e.ContainerID == id, fmt.Sprint(what, e.ExitStatus))
			case *eventsapi.TaskPaused:
				got = appendIf(got, e.ContainerID == id, "paused")
			case *eventsapi.TaskResumed:
				got = appendIf(got, e.ContainerID == id, "resumed")
			case *eventsapi.TaskOOM:
				got = appendIf(got, e.ContainerID == id, "oom")
			case *eventsapi.TaskDelete:
				got = appendIf(got, e.ContainerID == id, fmt.Sprint("delete ", e.ExitStatus))
			}
		}
		return len(got) > 0 && strings.HasPrefix(got[len(got)-1], "delete")
	})
	if !slices.Equal(got, want) {
		d.t.Errorf("events of %s: %v, want %v", id, got, want)
	}
}

func appendIf(list []string, ok bool, s string) []string {
	if ok {
		return append(list, s)
	}
	return list
}
