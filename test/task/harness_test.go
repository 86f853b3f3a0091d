package task

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	testdaemon "github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

const namespace = "task-test"

// daemon is the part of containerd that a shim talks to: it starts shims and
// receives their events.
type daemon struct {
	t     testing.TB
	dir   string
	ttrpc string

	mu     sync.Mutex
	events []any
	news   chan struct{}

	// log is that of the last shim, whole when the test that started it has ended.
	log bytes.Buffer
}

func newDaemon(t testing.TB) *daemon {
	t.Helper()
	if os.Getenv("E2E_BIN") == "" {
		t.Skip("E2E_BIN does not name the directory of the built binaries; run make test")
	}
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	release, err := testdaemon.HoldRunDirs()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	d := &daemon{t: t, dir: t.TempDir(), news: make(chan struct{}, 1)}
	d.ttrpc = filepath.Join(d.dir, "ttrpc.sock")
	l, err := net.Listen("unix", d.ttrpc)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	eventsapi.RegisterTTRPCEventsService(server, d)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(context.Background(), l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	d.watch(t)
	return d
}

// Forward receives one event of a shim.
func (d *daemon) Forward(_ context.Context, r *eventsapi.ForwardRequest) (*emptypb.Empty, error) {
	event, err := typeurl.UnmarshalAny(r.Envelope.Event)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.events = append(d.events, event)
	d.mu.Unlock()
	select {
	case d.news <- struct{}{}:
	default:
	}
	return &emptypb.Empty{}, nil
}

// waitEvents returns the topics so far once done says that they are enough.
func (d *daemon) waitEvents(done func([]any) bool) []any {
	d.t.Helper()
	deadline := time.After(patience)
	for {
		d.mu.Lock()
		events := append([]any(nil), d.events...)
		d.mu.Unlock()
		if done(events) {
			return events
		}
		select {
		case <-d.news:
		case <-deadline:
			d.t.Fatalf("events that never came; there were %v", events)
		}
	}
}

// bundle makes the bundle of a container whose root file system holds module
// as /app.wasm. edit may change the spec.
func (d *daemon) bundle(id string, module []byte, edit func(*specs.Spec)) string {
	d.t.Helper()
	bundle := filepath.Join(d.dir, id)
	rootfs := filepath.Join(bundle, "rootfs")
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rootfs, "app.wasm"), module, 0o644); err != nil {
		d.t.Fatal(err)
	}
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: []string{"/app.wasm"}, Cwd: "/", NoNewPrivileges: true},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}}},
		Linux: &specs.Linux{
			CgroupsPath: d.cgroup() + "/" + id,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
				{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			},
		},
	}
	if edit != nil {
		edit(spec)
	}
	b, err := json.Marshal(spec)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o644); err != nil {
		d.t.Fatal(err)
	}
	return bundle
}

// shimCommand returns the shim's command for a bundle, as daemons up to 2.2 run it.
func (d *daemon) shimCommand(id string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(os.Getenv("E2E_BIN"), "containerd-shim-wasm-v1"),
		append([]string{"-namespace", namespace, "-id", id, "-address", filepath.Join(d.dir, "grpc.sock")}, args...)...)
	cmd.Dir = filepath.Join(d.dir, id)
	cmd.Env = append(os.Environ(), "TTRPC_ADDRESS="+d.ttrpc, "CONTAINERD_SHIM_WASM_CACHE="+filepath.Join(d.dir, "cache"))
	return cmd
}

// shim is a running shim and a client of its task service.
type shim struct {
	taskapi.TTRPCTaskService
	d       *daemon
	id      string
	address string
	pid     int
	client  *ttrpc.Client
}

// start starts the shim of a bundle. It ends with the test, whatever happens.
func (d *daemon) start(id string) *shim {
	d.t.Helper()
	d.readLog(id)
	cmd := d.shimCommand(id, "-debug", "start")
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("start: %v: %s", err, stderrOf(err))
	}
	s := &shim{d: d, id: id, address: string(out)}
	conn, err := net.Dial("unix", strings.TrimPrefix(s.address, "unix://"))
	if err != nil {
		d.t.Fatal(err)
	}
	client := ttrpc.NewClient(conn)
	s.TTRPCTaskService = taskapi.NewTTRPCTaskClient(client)
	s.client = client
	resp, err := s.Connect(context.Background(), &taskapi.ConnectRequest{ID: id})
	if err != nil {
		d.t.Fatal(err)
	}
	s.pid = int(resp.ShimPid)
	d.t.Cleanup(func() {
		client.Close()
		s.end()
	})
	return s
}

// readLog reads the server's log as a daemon does and shows it with the test.
func (d *daemon) readLog(id string) {
	d.t.Helper()
	path := filepath.Join(d.dir, id, "log")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		d.t.Fatal(err)
	}
	// Open for both directions: no wait for the server, no early end.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	d.log.Reset()
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&d.log, f)
	}()
	d.t.Cleanup(func() {
		f.Close()
		<-read
		if d.t.Failed() {
			d.t.Logf("log of %s:\n%s", id, &d.log)
		}
	})
}

// end makes sure of the end of the shim and of its containers.
func (s *shim) end() {
	killAndWait(s.d.t, s.pid)
	configs, err := filepath.Glob(filepath.Join(s.d.dir, "*", "config.json"))
	if err != nil {
		s.d.t.Error(err)
	}
	for _, config := range configs {
		s.d.cleanup(filepath.Base(filepath.Dir(config)))
	}
	s.d.assertNothingLeft()
	s.d.removeParents()
}

// removeParents removes the parents of the containers' cgroups that a shim left
// which was killed between making and marking them.
func (d *daemon) removeParents() {
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		left, err := filepath.Glob(pattern + d.cgroup())
		if err != nil {
			d.t.Error(err)
		}
		for _, dir := range left {
			if err := os.Remove(dir); err != nil {
				d.t.Errorf("left in cgroups: %v", err)
			}
		}
	}
}

// cleanup is `delete`, which a daemon executes when the shim does not answer.
func (d *daemon) cleanup(id string) *taskapi.DeleteResponse {
	d.t.Helper()
	out, err := d.shimCommand(id, "-bundle", filepath.Join(d.dir, id), "delete").Output()
	if err != nil {
		d.t.Fatalf("delete %s: %v: %s", id, err, stderrOf(err))
	}
	var resp taskapi.DeleteResponse
	if err := proto.Unmarshal(out, &resp); err != nil {
		d.t.Fatal(err)
	}
	return &resp
}

// assertNothingLeft fails for a mount or a process below the daemon's directory
// and for a cgroup of its containers.
func (d *daemon) assertNothingLeft() {
	d.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, d.dir) {
			d.t.Errorf("left mounted: %s", line)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		left, err := filepath.Glob(filepath.Join(pattern, d.cgroup(), "*"))
		if err != nil {
			d.t.Fatal(err)
		}
		for _, path := range left {
			if fi, err := os.Stat(path); err == nil && fi.IsDir() {
				d.t.Errorf("left in cgroups: %s", path)
			}
		}
	}
}

// assertNoProcess fails for a process whose working directory or root is below
// the daemon's, after those that are about to end have had time to.
func (d *daemon) assertNoProcess() {
	d.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		left := ""
		links, err := filepath.Glob("/proc/[0-9]*/cwd")
		if err != nil {
			d.t.Fatal(err)
		}
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, d.dir) {
				left = link + " -> " + target
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			d.t.Errorf("a process is left: %s", left)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// cgroup is the parent of the cgroups of this daemon's containers.
func (d *daemon) cgroup() string {
	return "/" + namespace + "-" + strings.ReplaceAll(strings.TrimPrefix(d.dir, "/"), "/", "-")
}

func stderrOf(err error) []byte {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.Stderr
	}
	return nil
}

// killAndWait kills a process, which need not be a child, and waits for its end.
func killAndWait(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	waitEnd(t, fd)
}

func waitEnd(t testing.TB, pidfd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		if err == unix.EINTR {
			continue // by the signals of Go's scheduler
		}
		if n != 1 {
			t.Fatalf("a process did not end: %v", err)
		}
		return
	}
}

func (s *shim) create(id string) (*taskapi.CreateTaskResponse, error) {
	return s.Create(context.Background(), &taskapi.CreateTaskRequest{ID: id, Bundle: filepath.Join(s.d.dir, id)})
}

func (s *shim) mustCreate(id string) *taskapi.CreateTaskResponse {
	s.d.t.Helper()
	resp, err := s.create(id)
	if err != nil {
		s.d.t.Fatalf("create %s: %v", id, err)
	}
	return resp
}

func (s *shim) mustStart(id string) {
	s.d.t.Helper()
	if _, err := s.Start(context.Background(), &taskapi.StartRequest{ID: id}); err != nil {
		s.d.t.Fatalf("start %s: %v", id, err)
	}
}

func (s *shim) kill(id string, sig unix.Signal) error {
	_, err := s.Kill(context.Background(), &taskapi.KillRequest{ID: id, Signal: uint32(sig)})
	return err
}

func (s *shim) wait(id string) uint32 {
	s.d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := s.Wait(ctx, &taskapi.WaitRequest{ID: id})
	if err != nil {
		s.d.t.Fatalf("wait %s: %v", id, err)
	}
	return resp.ExitStatus
}

func (s *shim) delete(id string) (*taskapi.DeleteResponse, error) {
	return s.Delete(context.Background(), &taskapi.DeleteRequest{ID: id})
}
