package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// sized is a guest of one size. Its containers share a shim, as those of a Pod.
type sized struct {
	name string
	path func(*provision.Store, context.Context) (string, error)
	// args make it print and end, waits print and wait.
	args, waits []string

	size int64
	// Milliseconds from the Create call to the first byte of output, with compiled
	// code and without; MB of the runner after Create, and while the guest waits.
	warm, cold, created, waiting []float64
}

// sizes are the guests by their size.
func sizes() []*sized {
	guest := func(name string) func(*provision.Store, context.Context) (string, error) {
		return func(s *provision.Store, ctx context.Context) (string, error) { return s.Guest(ctx, name) }
	}
	return []*sized{
		{name: "C hello", path: guest("hello-c")},
		{name: "C", path: guest("probe-c"), args: []string{"hello"}, waits: []string{"drain"}},
		{name: "Rust", path: guest("probe-rust"), args: []string{"hello"}, waits: []string{"drain"}},
		{name: "Go hello", path: guest("hello-go")},
		{name: "Go", path: guest("probe-go"), args: []string{"hello"}, waits: []string{"drain"}},
		{name: "Python", path: (*provision.Store).Python, args: []string{"-c", "print(1+1)"},
			waits: []string{"-c", "import time; print(1, flush=True); time.sleep(60)"}},
	}
}

const (
	sizesGroup = "sizes"
	coldRuns   = 3
)

// measureSizes measures starts and memory by the size of the module, against the
// smallest of them.
func measureSizes(ctx context.Context, b *bench, rounds int) (figures []*figure, err error) {
	guests := sizes()
	err = b.withDaemon(ctx, nil, func(d *daemon.Daemon) error { return runSizes(ctx, b.store, d, guests, rounds) })
	if err != nil {
		return nil, err
	}
	smallest := guests[0]
	for _, g := range guests {
		name := fmt.Sprintf("%s, %.3g MB", g.name, float64(g.size)/1e6)
		compare := func(quantity, unit, a string, as []float64, b string, bs []float64) {
			f := newFigure("size", name, quantity, unit, a, b)
			f.Series[0].Samples, f.Series[1].Samples = as, bs
			figures = append(figures, f)
		}
		compare("first start to the first byte", "ms", "compiling", g.cold, "compiled", g.warm[:len(g.cold)])
		if g != smallest {
			compare("Create and Start to the first byte", "ms", g.name, g.warm, smallest.name, smallest.warm)
			compare("memory after Create", "MB", g.name, g.created, smallest.name, smallest.created)
		}
		if g.waits != nil {
			compare("memory", "MB", "waiting", g.waiting, "created", g.created)
		}
	}
	return figures, nil
}

func runSizes(ctx context.Context, store *provision.Store, d *daemon.Daemon, guests []*sized, rounds int) (err error) {
	c, err := client.New(d.Address(), client.WithDefaultNamespace(d.Namespace))
	if err != nil {
		return err
	}
	defer c.Close()
	for _, g := range guests {
		path, err := g.path(store, ctx)
		if err != nil {
			return err
		}
		module, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		g.size = int64(len(module))
		// A module with another custom section is another module to the cache.
		for i := range coldRuns + 1 {
			if err := g.add(ctx, d, i, module); err != nil {
				return err
			}
		}
	}
	// The shim is there before the first that is measured.
	keeper, err := startSized(ctx, c, d, guests[1].ref(0), guests[1].waits)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keeper.remove(context.WithoutCancel(ctx))) }()
	for i := range rounds {
		for _, g := range guests {
			if err := g.measure(ctx, c, d, i); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
		progress("size", i+1, rounds)
	}
	return nil
}

func (g *sized) ref(i int) string {
	return fmt.Sprintf("localhost/size-%s:%d", strings.ReplaceAll(strings.ToLower(g.name), " ", "-"), i)
}

// add imports the image with number i.
func (g *sized) add(ctx context.Context, d *daemon.Daemon, i int, module []byte) error {
	nonce := fmt.Appendf(nil, "%d %d", i, time.Now().UnixNano())
	section := append(binary.AppendUvarint(nil, 5), "bench"...)
	section = append(section, nonce...)
	module = slices.Concat(module, []byte{0}, binary.AppendUvarint(nil, uint64(len(section))), section)
	tar := filepath.Join(d.Dir, "work", "size.tar")
	defer os.Remove(tar)
	if err := (scratchimage.Image{Ref: g.ref(i), Files: map[string][]byte{"/app": module}, Entrypoint: []string{"/app"}, Env: []string{"PATH=/"}}).Write(tar); err != nil {
		return err
	}
	return d.ImportImage(ctx, tar)
}

// measure makes one round: a cold start while there are images for it, a warm
// one, and one that waits.
func (g *sized) measure(ctx context.Context, c *client.Client, d *daemon.Daemon, i int) error {
	once := func(ref string, args []string, took, created, waiting *[]float64) error {
		r, err := startSized(ctx, c, d, ref, args)
		if err != nil {
			return err
		}
		if took != nil {
			*took = append(*took, float64(r.first.Microseconds())/1000)
		}
		if created != nil {
			*created = append(*created, r.created)
		}
		if waiting != nil {
			pss, pssErr := runnerPSS(r.task.Pid())
			*waiting, err = append(*waiting, pss), pssErr
		}
		return errors.Join(err, r.remove(ctx))
	}
	if i < coldRuns {
		if err := once(g.ref(i+1), g.args, &g.cold, nil, nil); err != nil {
			return err
		}
	}
	if i == 0 {
		if err := once(g.ref(0), g.args, nil, nil, nil); err != nil {
			return err
		}
	}
	if err := once(g.ref(0), g.args, &g.warm, &g.created, nil); err != nil {
		return err
	}
	if g.waits == nil {
		return nil
	}
	return once(g.ref(0), g.waits, nil, nil, &g.waiting)
}

// sizedRun is one container.
type sizedRun struct {
	container client.Container
	task      client.Task
	first     time.Duration
	created   float64
}

// startSized starts a container and waits for its first byte.
func startSized(ctx context.Context, c *client.Client, d *daemon.Daemon, ref string, args []string) (_ *sizedRun, err error) {
	r := &sizedRun{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.remove(context.WithoutCancel(ctx)))
		}
	}()
	img, err := c.GetImage(ctx, ref)
	if err != nil {
		return nil, err
	}
	id := d.NewID("size")
	r.container, err = c.NewContainer(ctx, id, client.WithImage(img), client.WithNewSnapshot(id, img),
		client.WithNewSpec(oci.WithImageConfigArgs(img, args), oci.WithAnnotations(map[string]string{
			"io.containerd.runc.v2.group": sizesGroup, "io.containerd.wasm.v1/drain": "5s",
		})), client.WithRuntime("io.containerd.wasm.v1", nil))
	if err != nil {
		return nil, err
	}
	out := &firstByte{came: make(chan time.Time, 1)}
	var stderr bytes.Buffer
	began := time.Now()
	r.task, err = r.container.NewTask(ctx, cio.NewCreator(cio.WithStreams(nil, out, &stderr), cio.WithFIFODir(filepath.Join(d.Dir, "fifo"))))
	if err != nil {
		return nil, err
	}
	create := time.Since(began)
	if r.created, err = runnerPSS(r.task.Pid()); err != nil {
		return nil, err
	}
	exit, err := r.task.Wait(ctx)
	if err != nil {
		return nil, err
	}
	// What was measured in between does not count.
	began = time.Now()
	if err := r.task.Start(ctx); err != nil {
		return nil, err
	}
	select {
	case at := <-out.came:
		r.first = create + at.Sub(began)
		return r, nil
	case status := <-exit:
		select {
		case at := <-out.came:
			r.first = create + at.Sub(began)
			return r, nil
		case <-time.After(time.Second):
		}
		return nil, fmt.Errorf("it ended with %d and printed nothing: %s", status.ExitCode(), &stderr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *sizedRun) remove(ctx context.Context) (err error) {
	if r.task != nil {
		_, err = r.task.Delete(ctx, client.WithProcessKill)
	}
	if r.container != nil {
		err = errors.Join(err, r.container.Delete(ctx, client.WithSnapshotCleanup))
	}
	return err
}

// firstByte tells when the first byte came.
type firstByte struct {
	once sync.Once
	came chan time.Time
}

func (f *firstByte) Write(p []byte) (int, error) {
	f.once.Do(func() { f.came <- time.Now() })
	return len(p), nil
}

// runnerPSS is a process's share of memory in MB.
func runnerPSS(pid uint32) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			kb, err := strconv.ParseFloat(f[1], 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("smaps_rollup of process %d has no Pss", pid)
}
