package shim

import (
	"context"
	"os/exec"

	"github.com/containerd/containerd/v2/pkg/sys/reaper"
	"github.com/containerd/log"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

// hooks are those of one container that run in the shim's namespaces
// (runtime-spec, config.md, "POSIX-platform Hooks").
type hooks struct {
	specs.Hooks
	state specs.State
	// ran: those of a Create were run, perhaps in part, so that stopped has
	// something to undo.
	ran bool
}

func newHooks(spec *specs.Spec, id, bundle string) *hooks {
	h := &hooks{state: specs.State{Version: specs.Version, ID: id, Bundle: bundle, Annotations: spec.Annotations}}
	if spec.Hooks != nil {
		h.Hooks = *spec.Hooks
	}
	return h
}

func (h *hooks) at(status specs.ContainerState, pid int) specs.State {
	state := h.state
	state.Status, state.Pid = status, pid
	return state
}

// created runs those that belong between the container's mounts and its root.
func (h *hooks) created(ctx context.Context, pid int) error {
	h.ran = true
	state := h.at(specs.StateCreating, pid)
	//lint:ignore SA1019 a spec may still carry the deprecated field
	if err := sandbox.RunHooks(ctx, startReaped, "hooks.prestart", h.Prestart, state); err != nil {
		return classify(err)
	}
	return classify(sandbox.RunHooks(ctx, startReaped, "hooks.createRuntime", h.CreateRuntime, state))
}

func (h *hooks) started(ctx context.Context, pid int) error {
	return classify(sandbox.RunHooks(ctx, startReaped, "hooks.poststart", h.Poststart, h.at(specs.StateRunning, pid)))
}

// stopped runs all of its hooks; a failure is the log's, as the specification
// wants it.
func (h *hooks) stopped(ctx context.Context) {
	// What they undo must be undone whether or not somebody waits for it.
	ctx = context.WithoutCancel(ctx)
	if err := sandbox.RunEveryHook(ctx, startReaped, "hooks.poststop", h.Poststop, h.at(specs.StateStopped, 0)); err != nil {
		log.G(ctx).WithError(err).WithField("id", h.state.ID).Error("run hooks")
	}
}

// startReaped starts a process where containerd's reaper takes the exits.
func startReaped(cmd *exec.Cmd) (wait func() (int, error), err error) {
	exits, err := reaper.Default.Start(cmd)
	if err != nil {
		return nil, err
	}
	return func() (int, error) {
		defer func() { _ = cmd.Process.Release() }() // as in spawn
		return reaper.Default.Wait(cmd, exits)
	}, nil
}
