package main

import (
	"context"
	"errors"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// callQuantities are the figures of a container's life, in the order of life.all.
var callQuantities = []string{"Create", "Start", "Create and Start to the first byte", "Kill", "Kill to the answer of Wait", "Delete"}

func (l life) all() []time.Duration {
	return []time.Duration{l.create, l.start, l.first, l.kill, l.wait, l.delete}
}

// measureCalls measures each call of a container's life over the shim's own socket,
// in a shim that has a container already, as that of a Pod.
func measureCalls(ctx context.Context, b *bench, rounds int) (figures []*figure, _ error) {
	const warmUp = 2
	all := b.all
	for _, q := range callQuantities {
		figures = append(figures, newFigure("calls", "to the shim, past containerd", q, "ms", namesOf(all)...))
	}
	return figures, b.withShims(ctx, all, "waits", func(shims []*directShim) error {
		for round := range b.rounds("calls", rounds+warmUp) {
			for i, s := range shims {
				l, err := s.live(ctx)
				if err != nil {
					return err
				}
				for k, took := range l.all() {
					if round >= warmUp {
						figures[k].add(i, milliseconds(took))
					}
				}
			}
		}
		return nil
	})
}

// withShims calls f with a running shim of each contender, whose containers run a
// program.
func (b *bench) withShims(ctx context.Context, all []contender, program string, f func([]*directShim) error) error {
	return b.withDaemon(ctx, []string{keeperProgram}, func(d *daemon.Daemon) (err error) {
		var shims []*directShim
		for i := range all {
			s, err := b.openShim(ctx, d, &all[i], program)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(context.WithoutCancel(ctx))) }()
			shims = append(shims, s)
		}
		return f(shims)
	})
}
