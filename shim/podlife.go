package shim

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"
)

// createPod makes the sandbox of this shim.
//
// Errors: errdefs.ErrAlreadyExists when it has one, errdefs.ErrInvalidArgument
// for a request that no Pod without a pause container can meet.
func (s *service) createPod(r *sandboxapi.CreateSandboxRequest) error {
	config, err := parsePodConfig(r.Options)
	if err != nil {
		return err
	}
	switch {
	case r.SandboxID == "":
		return errdefs.ErrInvalidArgument.WithMessage("the sandbox has no id; give it one")
	case !filepath.IsAbs(r.BundlePath):
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("bundle_path %q of sandbox %s is not absolute; give an absolute path", r.BundlePath, r.SandboxID))
	case len(r.Rootfs) > 0:
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("sandbox %s is to have a root file system, but its containers bring their own; leave it out", r.SandboxID))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pod != nil {
		return errdefs.ErrAlreadyExists.WithMessage(fmt.Sprintf("this shim has sandbox %s already", s.pod.id))
	}
	s.serveFirst.Do(func() { close(s.served) })
	if s.pod, err = newPod(s, r.SandboxID, r.BundlePath, r.NetnsPath, config); err != nil {
		return fmt.Errorf("create sandbox %s: %w", r.SandboxID, err)
	}
	return nil
}

// currentPod is nil when the containers have no sandbox, or one with a pause
// container.
func (s *service) currentPod() *pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pod
}

// podPid returns the pid of the sandbox of that id, or 0. A daemon that starts
// asks for it as for a task's.
func (s *service) podPid(id string) int {
	p, err := s.podOf(id)
	if err != nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid()
}

// podOf returns the sandbox of that id.
//
// Errors: errdefs.ErrNotFound.
func (s *service) podOf(id string) (*pod, error) {
	if p := s.currentPod(); p != nil && p.id == id {
		return p, nil
	}
	return nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("sandbox %s does not exist", id))
}

// removePod stops and removes the sandbox with every container that is left in
// it. A sandbox that was never created, or is removed already, is no error for
// who wants it gone.
func (s *service) removePod(ctx context.Context, id string) error {
	s.mu.Lock()
	p, serves := s.pod, len(s.containers) > 0 || !s.native.empty()
	s.mu.Unlock()
	switch {
	case p == nil && serves, p != nil && p.id != id:
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("sandbox %s does not exist; this shim serves others", id))
	case p == nil:
		return nil
	}
	if err := errors.Join(s.removeContainers(ctx), p.stop(ctx)); err != nil {
		return err
	}
	if err := p.remove(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pod = nil
	return nil
}

// removeContainers kills and deletes all. CRI has done so before, unless it has
// lost track of one.
func (s *service) removeContainers(ctx context.Context) error {
	var ids []string
	s.mu.Lock()
	for id := range s.containers {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	ids = append(ids, s.native.list()...)
	var errs []error
	for _, id := range ids {
		// Who has ended, or goes away meanwhile, is not killed; the deletion says
		// what matters.
		_, _ = s.Kill(ctx, &taskapi.KillRequest{ID: id, Signal: uint32(unix.SIGKILL), All: true})
		_, _ = s.Wait(ctx, &taskapi.WaitRequest{ID: id})
		if _, err := s.Delete(ctx, &taskapi.DeleteRequest{ID: id}); err != nil && !errdefs.IsNotFound(errgrpc.ToNative(err)) {
			errs = append(errs, fmt.Errorf("remove container %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}
