package task

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandbox is a shim by its sandbox service, as of a daemon that has made nothing
// but the bundle.
type sandbox struct {
	*shim
	sandboxapi.TTRPCSandboxService
	bundle string
}

func (d *daemon) startSandbox(id string) *sandbox {
	d.t.Helper()
	bundle := filepath.Join(d.dir, id)
	if err := os.MkdirAll(filepath.Join(bundle, "rootfs"), 0o711); err != nil {
		d.t.Fatal(err)
	}
	s := d.start(id)
	return &sandbox{s, sandboxapi.NewTTRPCSandboxClient(s.client), bundle}
}

// make creates the sandbox, as CRI does for a Pod in the host's network.
func (s *sandbox) make(change func(*cri.PodSandboxConfig)) error {
	s.d.t.Helper()
	config := &cri.PodSandboxConfig{
		Hostname: "pod",
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
		}},
	}
	if change != nil {
		change(config)
	}
	b, err := proto.Marshal(config)
	if err != nil {
		s.d.t.Fatal(err)
	}
	_, err = s.CreateSandbox(context.Background(), &sandboxapi.CreateSandboxRequest{
		SandboxID: s.id, BundlePath: s.bundle, Options: &anypb.Any{TypeUrl: "runtime.v1.PodSandboxConfig", Value: b},
	})
	return err
}

// is fails the test unless the call failed with that class, or not at all.
func is(t *testing.T, call string, err, class error) {
	t.Helper()
	if err = errgrpc.ToNative(err); !errors.Is(err, class) || class == nil && err != nil {
		t.Errorf("%s: %v, want %v", call, err, class)
	}
}

// every makes each call that takes a sandbox that exists.
func (s *sandbox) every(t *testing.T, id string, class error) {
	t.Helper()
	ctx := context.Background()
	_, err := s.StartSandbox(ctx, &sandboxapi.StartSandboxRequest{SandboxID: id})
	is(t, "StartSandbox", err, class)
	_, err = s.Platform(ctx, &sandboxapi.PlatformRequest{SandboxID: id})
	is(t, "Platform", err, class)
	_, err = s.SandboxStatus(ctx, &sandboxapi.SandboxStatusRequest{SandboxID: id})
	is(t, "SandboxStatus", err, class)
	_, err = s.PingSandbox(ctx, &sandboxapi.PingRequest{SandboxID: id})
	is(t, "PingSandbox", err, class)
	_, err = s.SandboxMetrics(ctx, &sandboxapi.SandboxMetricsRequest{SandboxID: id})
	is(t, "SandboxMetrics", err, class)
	_, err = s.StopSandbox(ctx, &sandboxapi.StopSandboxRequest{SandboxID: id})
	is(t, "StopSandbox", err, class)
	_, err = s.WaitSandbox(ctx, &sandboxapi.WaitSandboxRequest{SandboxID: id})
	is(t, "WaitSandbox", err, class)
}

func TestSandboxCallsAnswerByItsState(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newDaemon(t).startSandbox("pod")
	s.every(t, s.id, errdefs.ErrNotFound)

	for name, r := range map[string]*sandboxapi.CreateSandboxRequest{
		"without an id":      {BundlePath: s.bundle},
		"a relative bundle":  {SandboxID: s.id, BundlePath: "."},
		"a root file system": {SandboxID: s.id, BundlePath: s.bundle, Rootfs: []*types.Mount{{Type: "bind", Source: "/"}}},
		"other options":      {SandboxID: s.id, BundlePath: s.bundle, Options: &anypb.Any{TypeUrl: "x.Y"}},
	} {
		_, err := s.CreateSandbox(ctx, r)
		is(t, name, err, errdefs.ErrInvalidArgument)
	}
	is(t, "CreateSandbox", s.make(nil), nil)
	is(t, "CreateSandbox again", s.make(nil), errdefs.ErrAlreadyExists)
	s.every(t, "another", errdefs.ErrNotFound)
	_, err := s.ShutdownSandbox(ctx, &sandboxapi.ShutdownSandboxRequest{SandboxID: "another"})
	is(t, "ShutdownSandbox of another", err, errdefs.ErrNotFound)

	status := func() *sandboxapi.SandboxStatusResponse {
		t.Helper()
		r, err := s.SandboxStatus(ctx, &sandboxapi.SandboxStatusRequest{SandboxID: s.id, Verbose: true})
		is(t, "SandboxStatus", err, nil)
		return r
	}
	if got := status().GetState(); got != "SANDBOX_NOTREADY" {
		t.Errorf("the created sandbox is %s", got)
	}
	start, err := s.StartSandbox(ctx, &sandboxapi.StartSandboxRequest{SandboxID: s.id})
	is(t, "StartSandbox", err, nil)
	_, err = s.StartSandbox(ctx, &sandboxapi.StartSandboxRequest{SandboxID: s.id})
	is(t, "StartSandbox again", err, errdefs.ErrFailedPrecondition)
	if got := status(); got.GetState() != "SANDBOX_READY" || got.GetPid() != start.GetPid() || int(got.GetPid()) != s.pid ||
		!strings.Contains(got.GetInfo()["info"], `"processStatus":"ready"`) {
		t.Errorf("the started sandbox is %v, the shim %d", got, s.pid)
	}
	// As a daemon asks for its sandboxes when it starts.
	pids, err := s.Pids(ctx, &taskapi.PidsRequest{ID: s.id})
	is(t, "Pids", err, nil)
	if len(pids.GetProcesses()) != 1 || pids.Processes[0].Pid != start.GetPid() {
		t.Errorf("Pids of the sandbox: %v", pids)
	}
	platform, err := s.Platform(ctx, &sandboxapi.PlatformRequest{SandboxID: s.id})
	is(t, "Platform", err, nil)
	if p := platform.GetPlatform(); p.GetOS() != "linux" || p.GetArchitecture() != runtime.GOARCH {
		t.Errorf("platform %v", p)
	}
	_, err = s.SandboxMetrics(ctx, &sandboxapi.SandboxMetricsRequest{SandboxID: s.id})
	is(t, "SandboxMetrics without a cgroup", err, errdefs.ErrFailedPrecondition)
	_, err = s.UpdateSandbox(ctx, &sandboxapi.UpdateSandboxRequest{SandboxID: s.id})
	is(t, "UpdateSandbox", err, errdefs.ErrNotImplemented)
	// Daemons call it after every task.
	_, err = s.Shutdown(ctx, &taskapi.ShutdownRequest{ID: "x"})
	is(t, "Shutdown of a task", err, nil)
	_, err = s.PingSandbox(ctx, &sandboxapi.PingRequest{SandboxID: s.id})
	is(t, "PingSandbox", err, nil)

	waited := make(chan *sandboxapi.WaitSandboxResponse)
	go func() {
		r, err := s.WaitSandbox(ctx, &sandboxapi.WaitSandboxRequest{SandboxID: s.id})
		is(t, "WaitSandbox", err, nil)
		waited <- r
	}()
	for range 2 {
		_, err = s.StopSandbox(ctx, &sandboxapi.StopSandboxRequest{SandboxID: s.id})
		is(t, "StopSandbox", err, nil)
	}
	if r := <-waited; r.GetExitStatus() != 0 || r.GetExitedAt().AsTime().IsZero() {
		t.Errorf("the end of the sandbox: %v", r)
	}
	if got := status(); got.GetState() != "SANDBOX_NOTREADY" || !got.GetExitedAt().IsValid() {
		t.Errorf("the stopped sandbox is %v", got)
	}
	_, err = s.StartSandbox(ctx, &sandboxapi.StartSandboxRequest{SandboxID: s.id})
	is(t, "StartSandbox of a stopped one", err, errdefs.ErrFailedPrecondition)
	s.shutDown(t)
}

// shutDown removes the sandbox, which answers before its shim ends.
func (s *sandbox) shutDown(t *testing.T) {
	t.Helper()
	_, err := s.ShutdownSandbox(context.Background(), &sandboxapi.ShutdownSandboxRequest{SandboxID: s.id})
	is(t, "ShutdownSandbox", err, nil)
	within(t, "the shim ends", func() bool { return !exists(s.pid) })
	for _, file := range []string{"hostname", "hosts", "resolv.conf", "shm", "wasm.json"} {
		if _, err := os.Lstat(filepath.Join(s.bundle, file)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left in the bundle: %v", file, err)
		}
	}
}

// A daemon that fails to make a sandbox shuts it down.
func TestShutdownOfASandboxThatNeverWasEndsItsShim(t *testing.T) {
	t.Parallel()
	newDaemon(t).startSandbox("pod").shutDown(t)
}

func TestSandboxThatCannotStartLeavesTheShimInTheHostsNamespaces(t *testing.T) {
	t.Parallel()
	s := newDaemon(t).startSandbox("pod")
	is(t, "CreateSandbox", s.make(func(c *cri.PodSandboxConfig) {
		c.Linux.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "no"}
	}), nil)
	_, err := s.StartSandbox(context.Background(), &sandboxapi.StartSandboxRequest{SandboxID: s.id})
	is(t, "StartSandbox", err, errdefs.ErrInvalidArgument)
	for _, ns := range []string{"net", "ipc", "uts"} {
		ours, _ := os.Readlink("/proc/self/ns/" + ns)
		theirs, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(s.pid), "ns", ns))
		if err != nil || ours != theirs {
			t.Errorf("%s namespace %s, %v; the host's is %s", ns, theirs, err, ours)
		}
	}
	s.shutDown(t)
}

// CRI removes containers before, unless it has lost track of one.
func TestShutdownOfASandboxRemovesItsContainers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d := newDaemon(t)
	for name, pid := range map[string]cri.NamespaceMode{"own": cri.NamespaceMode_CONTAINER, "shared": cri.NamespaceMode_POD} {
		t.Run(name, func(t *testing.T) {
			s := d.startSandbox("pod-" + name)
			is(t, "CreateSandbox", s.make(func(c *cri.PodSandboxConfig) {
				c.Linux.CgroupParent = d.cgroup()
				c.Linux.SecurityContext.NamespaceOptions.Pid = pid
			}), nil)
			id := "guest-" + name
			bundle := d.bundle(id, spin(), nil)
			create := func() error {
				_, err := s.Create(ctx, &taskapi.CreateTaskRequest{ID: id, Bundle: bundle})
				return err
			}
			is(t, "Create before the sandbox is ready", create(), errdefs.ErrFailedPrecondition)
			_, err := s.StartSandbox(ctx, &sandboxapi.StartSandboxRequest{SandboxID: s.id})
			is(t, "StartSandbox", err, nil)
			is(t, "Create", create(), nil)
			_, err = s.Start(ctx, &taskapi.StartRequest{ID: id})
			is(t, "Start", err, nil)
			s.shutDown(t)
		})
	}
}

func exists(pid int) bool { return unix.Kill(pid, 0) == nil }

func within(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
