package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// withDaemon calls f with a private containerd that has the images of the
// programs for every contender.
func (b *bench) withDaemon(ctx context.Context, programs []string, f func(d *daemon.Daemon) error) (err error) {
	containerd, err := b.store.Containerd(ctx, b.version)
	if err != nil {
		return err
	}
	runc, err := b.store.Runc(ctx)
	if err != nil {
		return err
	}
	d, err := daemon.Start(ctx, b.version, daemon.Programs{Containerd: containerd, Runc: runc, Shim: b.bin})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			log := daemon.Complaints(d.Log())
			err = fmt.Errorf("%w\ncontainerd's log ends with:\n%s", err, log[max(0, len(log)-4096):])
		}
		left, stopErr := d.Stop(context.Background())
		if len(left) > 0 {
			stopErr = errors.Join(stopErr, fmt.Errorf("left when containerd stopped: %q", left))
		}
		err = errors.Join(err, stopErr)
	}()
	tar := filepath.Join(d.Dir, "work", "image.tar")
	for _, program := range programs {
		for _, c := range contenders { // others run the same images
			if err := c.pack(ctx, b, program, c.ref(program), tar); err != nil {
				return err
			}
			if err := d.ImportImage(ctx, tar); err != nil {
				return err
			}
		}
	}
	return f(d)
}

// container is a started container.
type container struct {
	task      client.Task
	exit      <-chan client.ExitStatus
	container client.Container
	client    *client.Client
}

// start starts a program as a contender runs it; stdout gets its output.
func (c *contender) start(ctx context.Context, d *daemon.Daemon, program string, args []string, stdout io.Writer, spec ...oci.SpecOpts) (_ *container, err error) {
	r := &container{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.remove(context.WithoutCancel(ctx)))
		}
	}()
	if r.client, err = client.New(d.Address(), client.WithDefaultNamespace(d.Namespace)); err != nil {
		return nil, err
	}
	img, err := r.client.GetImage(ctx, c.ref(program))
	if err != nil {
		return nil, err
	}
	id := d.NewID(program)
	spec = append(spec, c.spec())
	r.container, err = r.client.NewContainer(ctx, id, client.WithImage(img), client.WithNewSnapshot(id, img),
		client.WithNewSpec(append([]oci.SpecOpts{oci.WithImageConfigArgs(img, args)}, spec...)...), client.WithRuntime(c.runtime, c.options()))
	if err != nil {
		return nil, err
	}
	r.task, err = r.container.NewTask(ctx, cio.NewCreator(cio.WithStreams(nil, stdout, os.Stderr), cio.WithFIFODir(filepath.Join(d.Dir, "fifo"))))
	if err != nil {
		return nil, err
	}
	if r.exit, err = r.task.Wait(ctx); err != nil {
		return nil, err
	}
	return r, r.task.Start(ctx)
}

// ended waits for a program that ends by itself.
func (r *container) ended(ctx context.Context) error {
	select {
	case status := <-r.exit:
		if err := status.Error(); err != nil || status.ExitCode() == 0 {
			return err
		}
		return fmt.Errorf("the program ended with %d", status.ExitCode())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// remove ends the program, if it still runs, and removes its container.
func (r *container) remove(ctx context.Context) (err error) {
	if r.task != nil {
		_, e := r.task.Delete(ctx, client.WithProcessKill)
		err = errors.Join(err, e)
	}
	if r.container != nil {
		err = errors.Join(err, r.container.Delete(ctx, client.WithSnapshotCleanup))
	}
	if r.client != nil {
		err = errors.Join(err, r.client.Close())
	}
	return err
}
