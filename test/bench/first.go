package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/client"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

const (
	inPod   = "existing Pod"
	newShim = "new shim"
	toFirst = "Create and Start to the first byte"
)

// hello is a program that prints and ends, as a module and natively.
type hello struct {
	module
	// native is the program's name; empty if there is none to compare with.
	native string
	// bound is the budget in an existing Pod with compiled code, 0 without one.
	bound float64

	warm map[string]*figure // by place
	cold map[string]*figure
}

func hellos() []*hello {
	return []*hello{
		{module: module{name: "C", path: guest("hello-c")}, native: "hello-c", bound: 0.25},
		{module: module{name: "Rust", path: guest("hello-rust")}, native: "hello-rust"},
		{module: module{name: "Go", path: guest("hello-go")}, native: "hello-go", bound: 0.6},
		{module: module{name: "CPython", path: (*provision.Store).Python, args: []string{"-c", "print(1+1)"}}},
	}
}

// measureFirstByte measures from the Create call at containerd to the first byte
// that the program prints, by the size of the module, in the shim of a Pod that
// runs already and with a new shim; first with what was compiled before, then with
// modules that the node has never seen.
func measureFirstByte(ctx context.Context, b *bench, rounds int) (figures []*figure, _ error) {
	const coldRounds, coldRoundsFull = 1, 7
	cold := coldRounds
	if b.full {
		cold = coldRoundsFull
	}
	all := b.all
	programs := hellos()
	natives := []string{keeperProgram}
	for _, h := range programs {
		if err := h.load(ctx, b.store); err != nil {
			return nil, err
		}
		h.warm, h.cold = map[string]*figure{}, map[string]*figure{}
		contend := all
		if h.native == "" {
			contend = all[:1]
		} else {
			natives = append(natives, h.native)
		}
		for _, place := range []string{inPod, newShim} {
			f := newFigure("first", fmt.Sprintf("%s, %s, %s", h.name, h.size(), place), toFirst, "ms", namesOf(contend)...)
			if place == inPod {
				f.Target = h.bound
			}
			h.warm[place] = f
			figures = append(figures, f)
			if b.full || place == inPod { // compiling CPython takes its time
				h.cold[place] = newFigure("first", f.Case, toFirst+", never compiled", "ms", wasm, "compiled before")
				figures = append(figures, h.cold[place])
			}
		}
	}
	err := b.withDaemon(ctx, natives, func(d *daemon.Daemon) (err error) {
		cl, err := client.New(d.Address(), client.WithDefaultNamespace(d.Namespace))
		if err != nil {
			return err
		}
		defer cl.Close()
		for _, h := range programs {
			for i := range 1 + len(h.cold)*cold {
				if err := h.add(ctx, d, i); err != nil {
					return err
				}
			}
		}
		for i := range all {
			keeper, err := all[i].keep(ctx, cl, d)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, keeper.remove(context.WithoutCancel(ctx))) }()
		}
		for round := range b.rounds("first", rounds+1) { // the first warms up
			for _, h := range programs {
				if err := h.measure(ctx, cl, d, all, round, cold); err != nil {
					return fmt.Errorf("%s: %w", h.name, err)
				}
			}
		}
		return nil
	})
	// As many of each: the cold ones are compared with the first warm ones.
	for _, h := range programs {
		for place, f := range h.cold {
			warm := h.warm[place].Series[0].Samples
			f.Series[1].Samples = warm[:min(len(warm), len(f.Series[0].Samples))]
		}
	}
	return figures, err
}

// refFor is the image that a contender runs.
func (h *hello) refFor(c *contender) string {
	if c.name == wasm {
		return h.module.ref(0)
	}
	return c.ref(h.native)
}

// measure makes one round: in both places, all contenders, and a module that was
// never compiled while there are some.
func (h *hello) measure(ctx context.Context, cl *client.Client, d *daemon.Daemon, all []contender, round, cold int) error {
	for k, place := range []string{inPod, newShim} {
		once := func(c *contender, ref string, f *figure, series int) error {
			group := c.group()
			if place == newShim {
				group = ""
			}
			l, err := c.prepare(ctx, cl, d, ref, group, h.args)
			if err != nil {
				return err
			}
			if err := l.run(ctx); err != nil {
				return err
			}
			err = errors.Join(l.ended(ctx), l.remove(context.WithoutCancel(ctx)))
			if err == nil && round > 0 {
				f.add(series, milliseconds(l.first))
			}
			return err
		}
		for i := range h.warm[place].Series {
			if err := once(&all[i], h.refFor(&all[i]), h.warm[place], i); err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
		}
		if f := h.cold[place]; f != nil && round > 0 && round <= cold {
			if err := once(&all[0], h.module.ref(len(h.cold)*(round-1)+1+k), f, 0); err != nil {
				return err
			}
		}
	}
	return nil
}
