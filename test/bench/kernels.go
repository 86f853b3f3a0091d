package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/wasmshim/containerd-shim-wasm/test/bench/stats"
	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// measureKernels measures computation that asks the system for nothing, with
// test/guests/kernels.c: what the engine's code takes beside clang's.
func measureKernels(ctx context.Context, b *bench, rounds int) (figures []*figure, _ error) {
	const program = "kernels"
	cases := []struct {
		verb, name string
		passes     int // a tenth of a second natively
	}{
		{"sha256", "SHA-256 of 256 KiB", 40},
		{"matrix", "product of matrices of 160 x 160", 100},
		{"sieve", "primes below 2,000,000", 30},
		{"json", "JSON of 2,000 records written and parsed", 100},
	}
	for _, c := range cases {
		figures = append(figures, newFigure("kernels", c.name, "time", "ms", names()...))
	}
	return figures, b.withDaemon(ctx, []string{program}, func(d *daemon.Daemon) error {
		for range b.rounds("kernels", rounds) {
			for k, kernel := range cases {
				for i := range contenders {
					ns, err := contenders[i].passes(ctx, d, program, kernel.passes, kernel.verb, strconv.Itoa(kernel.passes))
					if err != nil {
						return fmt.Errorf("%s: %s: %w", contenders[i].name, kernel.verb, err)
					}
					figures[k].add(i, ns/1e6)
				}
			}
		}
		return nil
	})
}

// passes runs a program that prints the ns of each pass, and returns the time that a
// tenth of them beat: passes are short, and one that was interrupted says nothing.
func (c *contender) passes(ctx context.Context, d *daemon.Daemon, program string, passes int, args ...string) (float64, error) {
	var out bytes.Buffer
	r, err := c.start(ctx, d, program, args, &out)
	if err != nil {
		return 0, err
	}
	err = r.ended(ctx)
	// The task's output is whole once it is deleted.
	if err = errors.Join(err, r.remove(context.WithoutCancel(ctx))); err != nil {
		return 0, err
	}
	var times []float64
	for line := range bytes.Lines(out.Bytes()) {
		ns, err := strconv.ParseFloat(string(bytes.TrimSpace(line)), 64)
		if err != nil {
			return 0, err
		}
		times = append(times, ns)
	}
	if len(times) != passes {
		return 0, fmt.Errorf("it printed %q", out.String())
	}
	return stats.Percentile(times, 10), nil
}
