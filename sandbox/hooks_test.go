package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// script is a hook that runs a shell script.
func script(text string, args ...string) specs.Hook {
	return specs.Hook{Path: "/bin/sh", Args: append([]string{"sh", "-c", text, "hook"}, args...)}
}

func seconds(n int) *int { return &n }

func testState(t testing.TB) specs.State {
	return specs.State{
		Version: specs.Version, ID: "c1", Status: specs.StateCreated, Pid: 42,
		Bundle: t.TempDir(), Annotations: map[string]string{"a": "b"},
	}
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHooksGetTheStateAndNothingOfTheShims(t *testing.T) {
	t.Setenv("SECRET", "shim")
	state := testState(t)
	out := filepath.Join(t.TempDir(), "out")
	hooks := []specs.Hook{
		script(`cat > "$1.state"; pwd > "$1.cwd"; env > "$1.env"`, out),
		{Path: "/usr/bin/env", Args: []string{"env", "sh", "-c", `echo "$A" > "$1"`, "hook", out + ".set"}, Env: []string{"A=1", "PATH=/bin"}},
		// The state need not be read, and the first argument is the name.
		script(`echo "$0 $1" >> "$2"`, "third", out+".set"),
	}
	if err := RunHooks(context.Background(), nil, "hooks.poststart", hooks, state); err != nil {
		t.Fatal(err)
	}
	var got specs.State
	if err := json.Unmarshal([]byte(content(t, out+".state")), &got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(state) {
		t.Errorf("the state is %v, want %v", got, state)
	}
	if cwd := strings.TrimSpace(content(t, out+".cwd")); cwd != state.Bundle {
		t.Errorf("the hook runs in %s, want the bundle %s", cwd, state.Bundle)
	}
	if env := content(t, out+".env"); strings.Contains(env, "SECRET") || !strings.Contains(env, "PATH=") {
		t.Errorf("the environment is %q", env)
	}
	if got := content(t, out+".set"); got != "1\nhook third\n" {
		t.Errorf("the hooks wrote %q", got)
	}
}

func TestAFailedHookSaysWhatItPrintedAndStopsTheOthers(t *testing.T) {
	state := testState(t)
	mark := filepath.Join(t.TempDir(), "mark")
	fails := script(`yes head | head -n 5000; echo "no such device" >&2; exit 3`)
	hooks := []specs.Hook{fails, script(`touch "$1"`, mark)}
	err := RunHooks(context.Background(), nil, "hooks.createRuntime", hooks, state)
	wantRefusal(t, err, control.Internal, "hooks.createRuntime[0] (/bin/sh) failed: it ended with status 3: …")
	if err == nil || !strings.HasSuffix(err.Error(), "no such device") || len(err.Error()) > 3000 {
		t.Errorf("the end of %d bytes is not what the hook printed last", len(err.Error()))
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the hook after the failed one ran")
	}
	err = RunEveryHook(context.Background(), nil, "hooks.poststop", hooks, state)
	if err == nil || !strings.Contains(err.Error(), "hooks.poststop[0]") {
		t.Errorf("the failure is lost: %v", err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("after a failed poststop hook the others do not run: %v", err)
	}
	err = RunHooks(context.Background(), nil, "hooks.prestart", []specs.Hook{{Path: "/no/such/hook"}}, state)
	wantRefusal(t, err, control.NotFound, "hooks.prestart[0]: start /no/such/hook")
	err = RunHooks(context.Background(), nil, "hooks.prestart", []specs.Hook{script(`kill -9 $$`)}, state)
	wantRefusal(t, err, control.Internal, "it ended with status 137 and printed nothing")
}

func TestAHookThatTakesTooLongIsKilledWithItsChildren(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	h := script(`sleep 1000 & echo $! > "$1"; echo waiting; wait`, pidfile)
	h.Timeout = seconds(1)
	err := RunHooks(context.Background(), nil, "hooks.poststart", []specs.Hook{h}, testState(t))
	wantRefusal(t, err, control.Internal, "it took longer than its timeout of 1s and was killed: waiting")
	awaitGone(t, content(t, pidfile))

	ctx, cancel := context.WithCancelCause(context.Background())
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = os.ReadFile(fifo) // until the hook runs
		cancel(errors.New("the daemon gave up"))
	}()
	err = RunHooks(ctx, nil, "hooks.poststart", []specs.Hook{script(`echo > "$1"; sleep 1000`, fifo)}, testState(t))
	wantRefusal(t, err, control.Internal, "it was killed: the daemon gave up")
}

// awaitGone waits for a process that was killed to be reaped by whoever does.
func awaitGone(t testing.TB, pid string) {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(pid))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(n, 0)
	if err != nil {
		return // gone
	}
	defer unix.Close(fd)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000); n != 1 {
		t.Errorf("process %s still runs: %v", pid, err)
	}
}

// A hook may leave a daemon behind that keeps its stdout.
func TestAHookThatLeavesAChildBehindHasEnded(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	h := script(`sleep 1000 & echo $! > "$1"; exit 1`, pidfile)
	done := make(chan error, 1)
	go func() {
		done <- RunHooks(context.Background(), nil, "hooks.poststart", []specs.Hook{h}, testState(t))
	}()
	select {
	case err := <-done:
		wantRefusal(t, err, control.Internal, "it ended with status 1")
	case <-time.After(10 * time.Second):
		t.Error("the hook is waited for as long as its child runs")
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(content(t, pidfile)))
	_ = unix.Kill(pid, unix.SIGKILL)
}

func TestHooksAreStartedByTheCallersMeans(t *testing.T) {
	started := 0
	start := func(cmd *exec.Cmd) (func() (int, error), error) {
		started++
		wait, err := startCommand(cmd)
		return wait, err
	}
	if err := RunHooks(context.Background(), start, "hooks.poststop", []specs.Hook{script("true"), script("true")}, testState(t)); err != nil || started != 2 {
		t.Errorf("%d hooks were started: %v", started, err)
	}
}

func withHooks(state specs.State) []Option { return []Option{WithHooks(state)} }

func TestHooksOfCreateRunBetweenMountsAndPivotRoot(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	rootfs := newRootfs(t)
	state := testState(t)
	runtimeSaw := ""
	s := &sandboxTest{
		rootfs:  rootfs,
		wish:    wish{Read: []string{"/made-by-hook"}, List: []string{"/"}},
		options: withHooks(state),
		atHooks: func(pid int) error {
			// In the runtime's namespaces the container's mounts are below
			// /proc/<pid>/root, whose root is still the host's.
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
			runtimeSaw = string(b)
			return err
		},
	}
	spec := with(func(s *specs.Spec) {
		s.Root.Readonly = true
		s.Hooks = &specs.Hooks{
			CreateRuntime: []specs.Hook{script("true")},
			CreateContainer: []specs.Hook{
				script(`cat > "$1/state"; readlink /proc/self/ns/mnt > "$1/mnt"; hostname > "$1/host"; umask > "$1/umask"`, dir),
				script(`echo hook > made-by-hook; ls "$2/dev/null" > "$1/dev"; ls /proc/self/fd > "$1/fds"; cat /proc/self/mountinfo > "$1/mounts"`, dir, rootfs),
			},
		}
	})
	v, err := s.run(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(runtimeSaw, rootfs+"/proc ") {
		t.Error("the hooks of the runtime run before the mounts are made")
	}
	var got specs.State
	if err := json.Unmarshal([]byte(content(t, dir+"/state")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Pid != 1 || got.Status != specs.StateCreating || got.ID != state.ID || got.Bundle != state.Bundle {
		t.Errorf("the state is %+v", got)
	}
	if ns := strings.TrimSpace(content(t, dir+"/mnt")); ns != v.Namespaces["mnt"] {
		t.Errorf("the hook is in mount namespace %s, the container in %s", ns, v.Namespaces["mnt"])
	}
	if host := strings.TrimSpace(content(t, dir+"/host")); host != "sandbox-test" {
		t.Errorf("the hook sees hostname %s", host)
	}
	if umask := strings.TrimSpace(content(t, dir+"/umask")); umask != "0022" {
		t.Errorf("the hook's umask is %s", umask)
	}
	if dev := strings.TrimSpace(content(t, dir+"/dev")); dev != rootfs+"/dev/null" {
		t.Errorf("the hook does not see the container's /dev: %q", dev)
	}
	// 3 is the directory that ls reads.
	if fds := strings.Fields(content(t, dir+"/fds")); fmt.Sprint(fds) != "[0 1 2 3]" {
		t.Errorf("the hook has the descriptors %v", fds)
	}
	if got := v.Tried["read /made-by-hook"]; got != "ok hook\n" {
		t.Errorf("what the hook made in the root reads %q", got)
	}
	if len(v.FDs) != 7 {
		t.Errorf("after hooks the program has the descriptors %v", v.FDs)
	}
}

func TestAFailedHookOfTheInitFailsCreate(t *testing.T) {
	needRoot(t)
	slow := script("echo slow; sleep 1000")
	slow.Timeout = seconds(1)
	for _, test := range []struct {
		hook  specs.Hook
		class control.Class
		want  string
	}{
		{script("echo because >&2; exit 7"), control.Internal, "hooks.createContainer[0] (/bin/sh) failed: it ended with status 7: because"},
		{slow, control.Internal, "it took longer than its timeout of 1s and was killed: slow"},
		{specs.Hook{Path: "/no/such/hook"}, control.NotFound, "hooks.createContainer[0]: start /no/such/hook"},
	} {
		s := &sandboxTest{options: withHooks(testState(t))}
		_, err := s.run(t, with(func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{test.hook}} }))
		wantRefusal(t, err, test.class, test.want)
	}
	failed := errors.New("a hook of the runtime failed")
	s := &sandboxTest{options: withHooks(testState(t)), atHooks: func(int) error { return failed }}
	_, err := s.run(t, with(func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{script("true")}} }))
	if err != failed {
		t.Errorf("got %v", err)
	}
}

func TestHooksThatCannotBeRunAreRefused(t *testing.T) {
	for _, test := range []struct {
		field string
		hooks specs.Hooks
	}{
		{"hooks.startContainer", specs.Hooks{StartContainer: []specs.Hook{script("true")}}},
		{"hooks.createRuntime[0].path", specs.Hooks{CreateRuntime: []specs.Hook{{Path: "hook"}}}},
		{"hooks.poststop[1].path", specs.Hooks{Poststop: []specs.Hook{script("true"), {Path: ""}}}},
		{"hooks.poststart[0].timeout", specs.Hooks{Poststart: []specs.Hook{{Path: "/hook", Timeout: seconds(0)}}}},
	} {
		spec := with(func(s *specs.Spec) { s.Hooks = &test.hooks })
		_, err := FromSpec(spec, "/rootfs", []string{"x"}, WithHooks(specs.State{}))
		wantRefusal(t, err, control.InvalidArgument, test.field)
	}
	for _, l := range hookLists(&specs.Hooks{}) {
		if advertised := slices.Contains(HookNames(), strings.TrimPrefix(l.field, "hooks.")); advertised != (l.field != "hooks.startContainer") {
			t.Errorf("%s is advertised: %v", l.field, advertised)
		}
	}
	c, err := FromSpec(with(func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{script("true")}} }), "/rootfs", []string{"x"}, WithHooks(specs.State{}))
	if err != nil || c.Hooks != nil || c.AwaitsHooks() {
		t.Errorf("the init has to do something for a poststop hook: %+v, %v", c, err)
	}
}
