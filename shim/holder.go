package shim

import (
	"context"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/log"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/pause"
)

// createPause makes the container that CRI asks for to hold the namespaces of a
// Pod. What it runs is our own pause program in place of the image's, in the
// sandbox that the spec asks for; runc has no part in it. The caller mounted the
// root file system, if mounted is set, and undoes that after an error.
func (s *service) createPause(ctx context.Context, r *taskapi.CreateTaskRequest, spec *specs.Spec, options *Options, rootfs string, mounted bool) (*container, error) {
	var undo undoStack
	defer undo.run()

	if err := supported(r); err != nil {
		return nil, err
	}
	c := s.newContainer(r, spec, options, oci.Settings{})
	if mounted {
		c.rootfs = rootfs
	}
	if err := c.hold(ctx, s.namespace, spec, rootfs, &undo); err != nil {
		return nil, err
	}
	if err := c.announce(r); err != nil {
		return nil, err
	}
	undo.release()
	return c, nil
}

// hold spawns the pause program as the container's init; it waits for its start.
// Errors are those of Create.
func (c *container) hold(ctx context.Context, namespace string, spec *specs.Spec, rootfs string, undo *undoStack) error {
	undo.push(func() {
		if c.hooks.ran {
			c.hooks.stopped(ctx)
		}
	})
	c.init.handles = true
	config, err := sandbox.FromSpec(spec, rootfs, []string{"pause"}, sandbox.WithHooks(c.hooks.state), sandbox.WithForeignProgram())
	if err != nil {
		return classify(err)
	}
	if len(spec.Mounts) == 0 {
		// A sandbox of the sandbox API: nothing looks into its root.
		config.Devices, config.MaskedPaths, config.ReadonlyPaths = nil, nil, nil
	}
	for _, warning := range config.Warnings {
		log.G(ctx).WithField("id", c.id).Warn(warning)
	}
	program, err := pause.File(config.MountLabel)
	if err != nil {
		return err
	}
	defer program.Close()
	if err := c.makeCgroup(ctx, namespace, spec, undo); err != nil {
		return err
	}
	if err := c.init.open(ctx, c.id, spec.Process.ConsoleSize, undo); err != nil {
		return err
	}
	return c.launch(ctx, c.init, launched{
		config:  config,
		program: program,
		name:    "pause",
		ended:   c.initEnded,
	}, undo)
}
