package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/v2/defaults"
	ctrshim "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/log"

	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// addressFile is where daemons before 2.0 look for the server of a bundle after
// a restart. The shim of every version removes its socket through it.
const addressFile = "address"

// logLevelEnv tells a server the level that the options of its first container
// name: its command line knows only debug.
const logLevelEnv = "CONTAINERD_SHIM_WASM_LOG_LEVEL"

// startServer returns the address of the server for the group of the task whose
// bundle is the working directory, and starts that server if there is none. Its
// startup is nil when there was one.
func startServer(ctx context.Context, params *bootapi.BootstrapParams) (_ string, _ *startup, retErr error) {
	group, err := readGroup(params.GetInstanceID())
	if err != nil {
		return "", nil, err
	}
	options, err := bootstrapOptions(params)
	if err != nil {
		return "", nil, err
	}
	socketDir := params.GetSocketDir()
	if socketDir == "" {
		socketDir = filepath.Join(defaults.DefaultStateDir, "s")
	}
	address, err := ctrshim.CreateSocketAddress(ctx, socketDir, params.GetContainerdGrpcAddress(), group, false)
	if err != nil {
		return "", nil, fmt.Errorf("name socket: %w", err)
	}
	listener, err := listen(address)
	if err != nil {
		return "", nil, err
	}
	if listener == nil {
		// The group's server runs already.
		return address, nil, writeAddress(address)
	}
	defer func() {
		listener.Close()
		if retErr != nil {
			_ = ctrshim.RemoveSocket(address)
		}
	}()
	// The server reads this file when it starts.
	if err := writeAddress(address); err != nil {
		return "", nil, err
	}
	cmd, err := serverCommand(params, options, listener)
	if err != nil {
		return "", nil, err
	}
	started, err := spawnServer(cmd, address)
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if retErr != nil {
			started.abort()
		}
	}()
	if err := joinShimCgroup(options.ShimCgroup, cmd.Process.Pid); err != nil {
		return "", nil, err
	}
	if err := ctrshim.AdjustOOMScore(cmd.Process.Pid); err != nil {
		// Lowering needs CAP_SYS_RESOURCE, which nested containerds lack.
		if !errors.Is(err, os.ErrPermission) {
			return "", nil, fmt.Errorf("adjust OOM score of the server: %w", err)
		}
		log.G(ctx).WithError(err).Warn("the server keeps its OOM score")
	}
	if err := started.check(); err != nil {
		return "", nil, err
	}
	return address, started, nil
}

// readGroup returns the name of the group that the bundle's task belongs to.
func readGroup(id string) (string, error) {
	b, err := os.ReadFile("config.json")
	if errors.Is(err, os.ErrNotExist) {
		// The sandbox API starts a shim before there is a spec.
		return id, nil
	}
	if err != nil {
		return "", fmt.Errorf("read spec: %w", err)
	}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(b, &spec); err != nil {
		return "", fmt.Errorf("parse config.json: %w", err)
	}
	return oci.GroupID(spec.Annotations, id), nil
}

// listen returns a listener at the address, or nil when a server answers there.
func listen(address string) (*net.UnixListener, error) {
	l, err := ctrshim.NewSocket(address)
	if err == nil {
		l.SetUnlinkOnClose(false)
		return l, nil
	}
	if !ctrshim.SocketEaddrinuse(err) {
		return nil, fmt.Errorf("create socket: %w", err)
	}
	if ctrshim.CanConnect(address) {
		return nil, nil
	}
	// A shim that was killed leaves its socket behind.
	if err := ctrshim.RemoveSocket(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove dead socket: %w", err)
	}
	if l, err = ctrshim.NewSocket(address); err != nil {
		return nil, fmt.Errorf("create socket again: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

func serverCommand(params *bootapi.BootstrapParams, options *Options, listener *net.UnixListener) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own binary: %w", err)
	}
	socket, err := listener.File()
	if err != nil {
		return nil, fmt.Errorf("duplicate listener: %w", err)
	}
	argv := []string{
		"-namespace", params.GetNamespace(),
		"-id", params.GetInstanceID(),
		"-address", params.GetContainerdGrpcAddress(),
	}
	if params.GetLogLevel() <= bootapi.LogLevel_LOG_LEVEL_DEBUG {
		argv = append(argv, "-debug")
	}
	cmd := exec.Command(self, argv...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=4", "OTEL_SERVICE_NAME=containerd-shim-"+params.GetInstanceID())
	cmd.Env = append(cmd.Env, startEnvironment()...)
	cmd.Env = append(cmd.Env, podDefaults{options.UnprivilegedPorts, options.UnprivilegedICMP}.environment()...)
	if options.LogLevel != "" {
		cmd.Env = append(cmd.Env, logLevelEnv+"="+options.LogLevel)
	}
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

func writeAddress(address string) error {
	tmp := "." + addressFile
	if err := os.WriteFile(tmp, []byte(address), 0o600); err != nil {
		return fmt.Errorf("write address: %w", err)
	}
	if err := os.Rename(tmp, addressFile); err != nil {
		return fmt.Errorf("write address: %w", err)
	}
	return nil
}

// joinShimCgroup moves the server into the cgroup that the runtime options name
// for shims; an empty path leaves it where the daemon started it.
func joinShimCgroup(path string, pid int) error {
	if path == "" {
		return nil
	}
	if cgroups.Mode() == cgroups.Unified {
		cg, err := cgroup2.Load(path)
		if err == nil {
			err = cg.AddProc(uint64(pid))
		}
		if err != nil {
			return fmt.Errorf("join shim cgroup %s: %w", path, err)
		}
		return nil
	}
	cg, err := cgroup1.Load(cgroup1.StaticPath(path))
	if err == nil {
		err = cg.AddProc(uint64(pid))
	}
	if err != nil {
		return fmt.Errorf("join shim cgroup %s: %w", path, err)
	}
	return nil
}
