package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// measureFiles measures reading and writing a file in blocks, with
// test/guests/blocks.c. The file is on a tmpfs of its container, where a system
// call costs least and what is added to it shows most.
func measureFiles(ctx context.Context, b *bench, rounds int) (all []*figure, _ error) {
	const total, passes = 4 << 20, 200
	err := b.withDaemon(ctx, []string{"blocks"}, func(d *daemon.Daemon) error {
		for _, verb := range []string{"read", "write"} {
			for _, block := range []int{4 << 10, 64 << 10} {
				f := newFigure("file", fmt.Sprintf("%s in blocks of %d KiB", verb, block>>10), "rate", "MB/s", names()...)
				f.MoreIsGood, f.Target = true, 0.8
				for round := range rounds {
					for i, c := range contenders {
						pass, err := c.blocks(ctx, d, verb, block, total, passes)
						if err != nil {
							return fmt.Errorf("%s: %s: %w", f.Case, c.name, err)
						}
						f.add(i, total/(pass/1e9)/1e6)
					}
					progress(f.Case, round+1, rounds)
				}
				all = append(all, f)
			}
		}
		return nil
	})
	return all, err
}

// blocks runs the program once and returns the time of a pass in ns that a tenth
// of them beat: passes are short, and one that was interrupted says nothing.
func (c *contender) blocks(ctx context.Context, d *daemon.Daemon, verb string, block, total, passes int) (pass float64, err error) {
	var out bytes.Buffer
	args := []string{verb, strconv.Itoa(block), strconv.Itoa(total), strconv.Itoa(passes), "/data/file"}
	r, err := c.start(ctx, d, "blocks", args, &out,
		oci.WithMounts([]specs.Mount{{Type: "tmpfs", Source: "tmpfs", Destination: "/data", Options: []string{"mode=0777"}}}))
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
	slices.Sort(times)
	return percentile(times, 10), nil
}
