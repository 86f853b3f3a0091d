package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	runcmanager "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	"github.com/containerd/containerd/v2/core/mount"
	ctrshim "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/cgroup"
)

// bootManager is what pkg/shim asks for the parts of its command line.
type bootManager struct{}

var _ ctrshim.Shim = bootManager{}

func (bootManager) Name() string { return RuntimeName }

// Start is never called: Main answers `start` itself, for every daemon.
func (bootManager) Start(context.Context, *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	return nil, errdefs.ErrNotImplemented
}

// Stop is `delete`: a daemon calls it for a task whose shim does not answer. It
// removes every process, cgroup, mount and socket of the task, whatever state
// the shim died in, and may be called again. After a Delete, when nothing of a task is
// left, package deleted answers before this is reached.
func (bootManager) Stop(ctx context.Context, id string) (ctrshim.StopStatus, error) {
	debug.SetGCPercent(-1) // the process ends before a collection would have paid
	cwd, err := os.Getwd()
	if err != nil {
		return ctrshim.StopStatus{}, err
	}
	bundle := filepath.Join(filepath.Dir(cwd), id)
	r, err := readRecord(bundle)
	if err != nil {
		return ctrshim.StopStatus{}, err
	}
	var status ctrshim.StopStatus
	switch {
	case r != nil:
		status, err = stopWasm(ctx, bundle, r)
	case isNative(bundle):
		status, err = runcmanager.NewShimManager(RuntimeName).Stop(ctx, id)
	default:
		// The shim died before it knew what the task is.
		status = killedStatus(0)
		err = unmountRootfs(bundle)
	}
	if err == nil {
		err = unmountShm(bundle)
	}
	if err != nil {
		return ctrshim.StopStatus{}, err
	}
	removeDeadSocket(ctx, bundle)
	return status, nil
}

// isNative says whether the runc task service got as far as its first file.
func isNative(bundle string) bool {
	_, err := runc.ReadRuntime(bundle)
	return err == nil
}

func stopWasm(ctx context.Context, bundle string, r *record) (ctrshim.StopStatus, error) {
	if err := removeCgroup(r.Cgroup); err != nil {
		return ctrshim.StopStatus{}, fmt.Errorf("remove cgroup %s: %w", r.Cgroup, err)
	}
	if err := unmountRootfs(bundle); err != nil {
		return ctrshim.StopStatus{}, err
	}
	if spec, err := oci.ReadSpec(bundle); err == nil {
		newHooks(spec, filepath.Base(bundle), bundle).stopped(ctx)
	}
	// Another pid is that of a container which the bundle was used for before.
	if e, err := runc.ReadExitStatus(bundle); err == nil && e.Pid == r.Pid {
		return ctrshim.StopStatus{Pid: e.Pid, ExitStatus: e.Status, ExitedAt: e.Timestamp}, nil
	}
	return killedStatus(r.Pid), nil
}

// removeCgroup kills what is in the cgroup and removes it and whatever was made
// for it.
func removeCgroup(path string) error {
	cg, err := cgroup.Load(path)
	if errdefs.IsNotFound(err) {
		return cgroup.Sweep(path)
	}
	if err != nil {
		return err
	}
	if err := cg.Kill(); err != nil {
		return err
	}
	return cg.Delete()
}

// killedStatus is the exit of a task of which nothing better is known.
func killedStatus(pid int) ctrshim.StopStatus {
	return ctrshim.StopStatus{Pid: pid, ExitStatus: 128 + int(unix.SIGKILL), ExitedAt: time.Now()}
}

func unmountRootfs(bundle string) error {
	rootfs := filepath.Join(bundle, "rootfs")
	if err := mount.UnmountRecursive(rootfs, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unmount %s: %w", rootfs, err)
	}
	return nil
}

// removeDeadSocket removes the socket of the bundle's server unless that server
// lives on for other tasks of the group.
func removeDeadSocket(ctx context.Context, bundle string) {
	address, err := ctrshim.ReadAddress(filepath.Join(bundle, addressFile))
	if err != nil || ctrshim.CanConnect(address) {
		return
	}
	if err := ctrshim.RemoveSocket(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.G(ctx).WithError(err).Warn("remove socket")
	}
}

// Info is `-info`.
func (bootManager) Info(ctx context.Context, options io.Reader) (*types.RuntimeInfo, error) {
	return runtimeInfo(ctx, options)
}
