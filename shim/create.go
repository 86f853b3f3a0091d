package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	eventstypes "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/cgroup"
)

// undoStack undoes what a Create did, last first, unless it is released.
type undoStack []func()

func (u *undoStack) push(f func()) { *u = append(*u, f) }

func (u *undoStack) run() {
	for _, f := range slices.Backward(*u) {
		f()
	}
	*u = nil
}

func (u *undoStack) release() { *u = nil }

// create makes the Wasm container of the request: sandboxed, its module loaded,
// waiting for start. When the content of the image says that it is native, it
// returns the request for the runc task service instead. Whatever fails leaves
// nothing behind.
//
// Errors: errdefs.ErrInvalidArgument and errdefs.ErrNotFound for what is wrong
// with the spec or the image, in one sentence.
func (s *service) create(ctx context.Context, r *taskapi.CreateTaskRequest) (_ *container, native *taskapi.CreateTaskRequest, _ error) {
	var undo undoStack
	defer undo.run()
	marks := newTimeline()
	marks.Add("shim: is asked to create")

	if err := takeAnswerBack(r.Bundle); err != nil {
		return nil, nil, err
	}
	options, err := parseOptions(r.Options)
	if err != nil {
		return nil, nil, err
	}
	spec, err := oci.ReadSpec(r.Bundle)
	if err != nil {
		return nil, nil, classify(err)
	}
	marks.Add("shim: has read the spec")
	rootfs, mounted, err := mountRootfs(r, spec)
	if err != nil {
		return nil, nil, err
	}
	if mounted {
		undo.push(func() { unmount(ctx, rootfs) })
	}
	if oci.IsSandbox(spec.Annotations) {
		c, err := s.createPause(ctx, r, spec, options, rootfs, mounted)
		if err == nil {
			undo.release()
		}
		return c, nil, err
	}
	pod := s.currentPod()
	if pod != nil {
		if err := pod.adopt(spec); err != nil {
			return nil, nil, err
		}
	}
	marks.Add("shim: has mounted the root file system")
	layers := s.layersOf(spec, r.ID, r.Bundle, options)
	target, err := oci.Resolve(spec, rootfs, layers.option(ctx))
	if err != nil {
		return nil, nil, classify(err)
	}
	if target.Kind == oci.Native {
		if !options.AllowNative {
			return nil, nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
				"container %s is no Wasm container, and this runtime runs no others (its option AllowNative is false); name a Wasm module, or use another runtime class", r.ID))
		}
		// The runc task service mounts the root file system for itself.
		undo.run()
		if pod != nil {
			if err := rewriteMounts(r.Bundle, spec); err != nil {
				return nil, nil, err
			}
		}
		native, err := nativeRequest(r, options)
		if err != nil {
			return nil, nil, err
		}
		if err := noteShimPath(r.Bundle, &undo); err != nil {
			return nil, nil, err
		}
		undo.release()
		return nil, native, nil
	}
	defer target.Module.Close()
	marks.Add("shim: has found the module")
	settings := options.guest
	if err := settings.Annotate(spec.Annotations); err != nil {
		return nil, nil, classify(err)
	}
	settings.Apply(target.Workload)
	if err := supported(r); err != nil {
		return nil, nil, err
	}

	c := s.newContainer(r, spec, options, settings)
	c.layers = layers
	if mounted {
		c.rootfs = rootfs
	}
	undo.push(func() {
		if c.hooks.ran {
			c.hooks.stopped(ctx)
		}
	})
	config, err := sandbox.FromSpec(spec, rootfs, runnerArgs("guest", target.Workload), sandbox.WithHooks(c.hooks.state))
	if err != nil {
		return nil, nil, classify(err)
	}
	config.Env, config.Timeline = runnerEnv(), marks != nil
	target.Workload.TerminationLog = terminationLog(spec)
	config.Landlock = c.reach(target)
	target.Workload.Limits = c.options.compile
	for _, warning := range config.Warnings {
		log.G(ctx).WithField("id", r.ID).Warn(warning)
	}
	if err := c.makeCgroup(ctx, s.namespace, spec, &undo); err != nil {
		return nil, nil, err
	}
	marks.Add("shim: has made the cgroup")
	if err := c.init.open(ctx, c.id, spec.Process.ConsoleSize, &undo); err != nil {
		return nil, nil, err
	}
	code, err := c.compiledCode(ctx, target)
	if err != nil {
		return nil, nil, err
	}
	defer code.release(ctx)
	marks.Add("shim: has the compiled code")
	err = c.launch(ctx, c.init, launched{
		config:   config,
		workload: target.Workload,
		name:     target.Workload.Module,
		module:   target.Module,
		code:     code,
		ended:    c.initEnded,
		marks:    marks,
	}, &undo)
	if err != nil {
		return nil, nil, err
	}
	if err := noteShimPath(r.Bundle, &undo); err != nil {
		return nil, nil, err
	}
	if err := c.announce(r); err != nil {
		return nil, nil, err
	}
	marks.Add("shim: has created the container")
	c.life.begin(ctx, c.id, marks)
	undo.release()
	return c, nil, nil
}

// newContainer returns the container of the request, of which nothing is made yet.
func (s *service) newContainer(r *taskapi.CreateTaskRequest, spec *specs.Spec, options *Options, settings oci.Settings) *container {
	c := &container{
		id:        r.ID,
		bundle:    r.Bundle,
		events:    s.events,
		sharedPID: !hasOwnPIDNamespace(spec),
		hooks:     newHooks(spec, r.ID, r.Bundle),
		options:   options,
		settings:  settings,
		init:      newProcess(settings.Drain),
		execs:     make(map[string]*process),
	}
	c.init.stdin, c.init.stdout, c.init.stderr, c.init.terminal = r.Stdin, r.Stdout, r.Stderr, r.Terminal
	if spec.Linux != nil {
		c.seccomp, c.linux = spec.Linux.Seccomp, spec.Linux
	}
	return c
}

// mountRootfs mounts what the snapshotter gave, if anything, and returns the
// root file system's path.
func mountRootfs(r *taskapi.CreateTaskRequest, spec *specs.Spec) (rootfs string, mounted bool, _ error) {
	if len(r.Rootfs) == 0 {
		if spec.Root == nil || spec.Root.Path == "" {
			return "", false, errdefs.ErrInvalidArgument.WithMessage("root.path is not set and the request brings no root file system; set one of them")
		}
		if filepath.IsAbs(spec.Root.Path) {
			return filepath.Clean(spec.Root.Path), false, nil
		}
		return filepath.Join(r.Bundle, spec.Root.Path), false, nil
	}
	rootfs = filepath.Join(r.Bundle, "rootfs")
	if err := os.Mkdir(rootfs, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return "", false, fmt.Errorf("make root file system's mount point: %w", err)
	}
	var mounts []mount.Mount
	for _, m := range r.Rootfs {
		mounts = append(mounts, mount.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	if err := mount.All(mounts, rootfs); err != nil {
		_ = mount.UnmountMounts(mounts, rootfs, 0)
		return "", false, fmt.Errorf("mount root file system: %w", err)
	}
	return rootfs, true, nil
}

func unmount(ctx context.Context, rootfs string) {
	if err := mount.UnmountRecursive(rootfs, 0); err != nil {
		log.G(ctx).WithError(err).WithField("path", rootfs).Error("unmount root file system")
	}
}

// nativeRequest returns the request for the runc task service, with options of
// the type that it understands.
func nativeRequest(r *taskapi.CreateTaskRequest, options *Options) (*taskapi.CreateTaskRequest, error) {
	if len(r.Options.GetValue()) == 0 || typeurl.Is(r.Options, &runcoptions.Options{}) {
		return r, nil
	}
	any, err := options.runcAny()
	if err != nil {
		return nil, fmt.Errorf("translate runtime options: %w", err)
	}
	r.Options = any
	return r, nil
}

// supported refuses what a Wasm container cannot do.
func supported(r *taskapi.CreateTaskRequest) error {
	if r.Checkpoint != "" {
		return errdefs.ErrNotImplemented.WithMessage("restoring a Wasm container from a checkpoint is not supported; create it anew")
	}
	return nil
}

func hasOwnPIDNamespace(spec *specs.Spec) bool {
	return spec.Linux != nil && slices.ContainsFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool {
		return ns.Type == specs.PIDNamespace && ns.Path == ""
	})
}

// makeCgroup makes the container's cgroup, after it has recorded its path for a
// `delete` that comes when this process is gone.
func (c *container) makeCgroup(ctx context.Context, namespace string, spec *specs.Spec, undo *undoStack) error {
	var resources *specs.LinuxResources
	path := ""
	if spec.Linux != nil {
		resources, path = spec.Linux.Resources, spec.Linux.CgroupsPath
	}
	if path == "" {
		path = filepath.Join("/", namespace, c.id)
	}
	undo.push(func() { _ = os.Remove(filepath.Join(c.bundle, recordFile)) })
	if err := writeRecord(c.bundle, record{Cgroup: path}); err != nil {
		return err
	}
	cg, err := cgroup.Create(path, resources)
	if err != nil {
		return classify(err)
	}
	undo.push(func() {
		if err := errors.Join(cg.Kill(), cg.Delete()); err != nil {
			log.G(ctx).WithError(err).WithField("cgroup", path).Error("remove cgroup")
		}
	})
	c.cgroup = cg
	return nil
}

// announce makes the container known: from here on its exit is an event.
func (c *container) announce(r *taskapi.CreateTaskRequest) error {
	p := c.init
	if err := writeRecord(c.bundle, record{Cgroup: c.cgroup.Path(), Pid: p.pid()}); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == tasktypes.Status_STOPPED {
		return errdefs.ErrUnavailable.WithMessage(fmt.Sprintf("container %s ended with status %d while it was created", c.id, p.exitStatus))
	}
	c.announced = true
	c.events.send(&eventstypes.TaskCreate{
		ContainerID: r.ID,
		Bundle:      r.Bundle,
		Rootfs:      r.Rootfs,
		IO:          &eventstypes.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr},
		Pid:         uint32(p.pid()),
	})
	return nil
}
