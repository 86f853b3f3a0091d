package main

import (
	"context"
	"fmt"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// measureRun measures `ctr run --rm` of a small program, from start to end.
func measureRun(ctx context.Context, b *bench, rounds int) ([]*figure, error) {
	const program, warmUp = "hello-c", 2
	f := newFigure("run", "ctr run --rm of "+program, "wall time", "ms", names()...)
	f.Target = 0.6
	err := b.withDaemon(ctx, []string{program}, func(d *daemon.Daemon) error {
		for round := range rounds + warmUp {
			for i, c := range contenders {
				began := time.Now()
				r := d.Ctr(ctx, "run", "--rm", "--runtime", c.runtime, c.ref(program), d.NewID("bench"))
				took := time.Since(began)
				if r.Code != 0 {
					return fmt.Errorf("%s: exit code %d\n%s%s", c.name, r.Code, r.Stdout, r.Stderr)
				}
				if round >= warmUp {
					f.add(i, milliseconds(took))
				}
			}
			progress(f.Case, round+1, rounds+warmUp)
		}
		return nil
	})
	return []*figure{f}, err
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
