package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/client"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// sized is a module whose memory is measured: MiB of its runner after Create, while it
// waits, and what the sum grows by when another one waits beside it.
type sized struct {
	module
	created, waiting, further []float64
}

func sizes() []*sized {
	return []*sized{
		{module: module{name: "C hello", path: guest("hello-c")}},
		{module: module{name: "C", path: guest("probe-c"), args: []string{"hello"}, waits: []string{"drain"}}},
		{module: module{name: "Rust", path: guest("probe-rust"), args: []string{"hello"}, waits: []string{"drain"}}},
		{module: module{name: "Go hello", path: guest("hello-go")}},
		{module: module{name: "Go", path: guest("probe-go"), args: []string{"hello"}, waits: []string{"drain"}}},
		{module: module{name: "CPython", path: (*provision.Store).Python, args: []string{"-c", "print(1+1)"},
			waits: []string{"-c", "import time; print(1, flush=True); time.sleep(60)"}}},
	}
}

// measureSizes measures the memory of a runner by the size of its module, against
// the smallest of them.
func measureSizes(ctx context.Context, b *bench, rounds int) (figures []*figure, err error) {
	guests := sizes()
	err = b.withDaemon(ctx, nil, func(d *daemon.Daemon) error { return runSizes(ctx, b, d, guests, rounds) })
	if err != nil {
		return nil, err
	}
	smallest := guests[0]
	for _, g := range guests {
		compare := func(quantity, a string, as []float64, b string, bs []float64) {
			f := newFigure("size", g.name+", "+g.size(), quantity, "MiB", a, b)
			f.Series[0].Samples, f.Series[1].Samples = as, bs
			figures = append(figures, f)
		}
		if g != smallest {
			compare("PSS of the runner after Create", wasm, g.created, smallest.name, smallest.created)
		}
		if g.waits != nil {
			compare("PSS of the runner", "waiting", g.waiting, "created", g.created)
			compare("PSS of a further runner", "waiting", g.further, "the first", g.waiting)
		}
	}
	return figures, nil
}

func runSizes(ctx context.Context, b *bench, d *daemon.Daemon, guests []*sized, rounds int) error {
	cl, err := client.New(d.Address(), client.WithDefaultNamespace(d.Namespace))
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, g := range guests {
		if err := errors.Join(g.load(ctx, b.store), g.add(ctx, d, 0)); err != nil {
			return err
		}
	}
	for round := range rounds + 1 { // the first compiles
		for _, g := range guests {
			if err := g.measure(ctx, cl, d, round); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
		progress("size", round, rounds)
	}
	return nil
}

func (g *sized) measure(ctx context.Context, cl *client.Client, d *daemon.Daemon, round int) (err error) {
	args := g.waits
	if args == nil {
		args = g.args
	}
	var all []*launch
	defer func() { err = errors.Join(err, removeAll(context.WithoutCancel(ctx), all)) }()
	create := func() (*launch, error) {
		l, err := contenders[0].prepare(ctx, cl, d, g.ref(0), "", args)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
		return l, l.create(ctx)
	}
	first, err := create()
	if err != nil {
		return err
	}
	created, err := weighPrograms(all)
	if err != nil {
		return err
	}
	if err := first.start(ctx); err != nil {
		return err
	}
	var waiting, both float64
	if g.waits != nil {
		if waiting, err = weighPrograms(all); err != nil {
			return err
		}
		second, err := create()
		if err != nil {
			return err
		}
		if err := second.start(ctx); err != nil {
			return err
		}
		if both, err = weighPrograms(all); err != nil {
			return err
		}
	}
	if round > 0 {
		g.created, g.waiting, g.further = append(g.created, created), append(g.waiting, waiting), append(g.further, both-waiting)
	}
	return nil
}
