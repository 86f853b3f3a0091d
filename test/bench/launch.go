package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// launch is a container that is started through containerd step by step, so that
// each step can be timed by itself.
type launch struct {
	contender *contender
	container client.Container
	task      client.Task
	exit      <-chan client.ExitStatus
	output    *firstByte
	stderr    bytes.Buffer
	fifos     string
	shim      int // its pid, where that was asked for
	// created is how long the Create call took, and first the time from it to the
	// first byte of output, without what was done between the calls.
	created, first time.Duration
}

// prepare makes the container, but no task: what containerd does by itself.
func (c *contender) prepare(ctx context.Context, cl *client.Client, d *daemon.Daemon, ref, group string, args []string) (*launch, error) {
	img, err := cl.GetImage(ctx, ref)
	if err != nil {
		return nil, err
	}
	id := d.NewID("launch")
	annotations := map[string]string{"io.containerd.wasm.v1/drain": "5s"}
	if group != "" {
		annotations[groupAnnotation] = group
	}
	l := &launch{contender: c, output: newFirstByte(), fifos: filepath.Join(d.Dir, "fifo")}
	l.container, err = cl.NewContainer(ctx, id, client.WithImage(img), client.WithNewSnapshot(id, img),
		client.WithNewSpec(oci.WithImageConfigArgs(img, args), oci.WithAnnotations(annotations), c.spec()),
		client.WithRuntime(c.runtime, c.options()))
	return l, err
}

// group is the Pod of a contender.
func (c *contender) group() string { return "bench-" + c.name }

// keeperProgram is what a Pod's first container runs.
const keeperProgram = "waits"

// keep starts the first container of the contender's Pod, which waits, as pause does.
func (c *contender) keep(ctx context.Context, cl *client.Client, d *daemon.Daemon) (*launch, error) {
	keeper, err := c.prepare(ctx, cl, d, c.ref(keeperProgram), c.group(), nil)
	if err != nil {
		return nil, err
	}
	return keeper, keeper.run(ctx)
}

// create creates the task.
func (l *launch) create(ctx context.Context) (err error) {
	began := time.Now()
	l.task, err = l.container.NewTask(ctx, cio.NewCreator(cio.WithStreams(nil, l.output, &l.stderr), cio.WithFIFODir(l.fifos)))
	if err != nil {
		return err
	}
	l.created = time.Since(began)
	l.exit, err = l.task.Wait(ctx)
	return err
}

// start starts the task and waits for its first byte of output.
func (l *launch) start(ctx context.Context) error {
	began := time.Now()
	if err := l.task.Start(ctx); err != nil {
		return err
	}
	select {
	case at := <-l.output.came:
		l.first = l.created + at.Sub(began)
	case <-time.After(time.Minute):
		return errors.New("no output for a minute")
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// run is create and start, of a container that is removed if that fails.
func (l *launch) run(ctx context.Context) error {
	err := l.create(ctx)
	if err == nil {
		err = l.start(ctx)
	}
	if err != nil {
		err = errors.Join(err, l.remove(context.WithoutCancel(ctx)))
	}
	return err
}

// ended waits for a program that ends by itself.
func (l *launch) ended(ctx context.Context) error {
	select {
	case status := <-l.exit:
		if err := status.Error(); err != nil || status.ExitCode() == 0 {
			return err
		}
		return fmt.Errorf("the program ended with %d: %s", status.ExitCode(), &l.stderr)
	case <-time.After(time.Minute):
		return errors.New("the program did not end for a minute")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// remove ends the program, if it still runs, and removes its container.
func (l *launch) remove(ctx context.Context) (err error) {
	if l.task != nil {
		_, err = l.task.Delete(ctx, client.WithProcessKill)
	}
	return errors.Join(err, l.container.Delete(ctx, client.WithSnapshotCleanup))
}

// firstByte tells when the first byte came.
type firstByte struct {
	once sync.Once
	came chan time.Time
}

func newFirstByte() *firstByte { return &firstByte{came: make(chan time.Time, 1)} }

func (f *firstByte) Write(p []byte) (int, error) {
	f.once.Do(func() { f.came <- time.Now() })
	return len(p), nil
}
