package main

import (
	"context"
	"fmt"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// measureRun measures `ctr run --rm` of small programs, from start to end. Debian's
// crun is not among them: it refuses the specs that this ctr makes.
func measureRun(ctx context.Context, b *bench, rounds int) (figures []*figure, _ error) {
	const warmUp = 1
	programs := []string{"hello-c", "hello-go"}
	for _, program := range programs {
		f := newFigure("run", "ctr run --rm of "+program, "wall time", "ms", names()...)
		if program == "hello-c" {
			f.Target = 0.6
		}
		figures = append(figures, f)
	}
	return figures, b.withDaemon(ctx, programs, func(d *daemon.Daemon) error {
		for round := range b.rounds("run", rounds+warmUp) {
			for k, program := range programs {
				for i, c := range contenders {
					began := time.Now()
					r := d.Ctr(ctx, "run", "--rm", "--runtime", c.runtime, c.ref(program), d.NewID("bench"))
					took := time.Since(began)
					if r.Code != 0 {
						return fmt.Errorf("%s: exit code %d\n%s%s", c.name, r.Code, r.Stdout, r.Stderr)
					}
					if round >= warmUp {
						figures[k].add(i, milliseconds(took))
					}
				}
			}
		}
		return nil
	})
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
