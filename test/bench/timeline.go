package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/internal/timeline"
	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// floorProgram is the shim of test/bench/floor, in the way that containerd takes a
// shim by its path.
func (b *bench) floorProgram(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "containerd-shim-floor-v1")
	cmd := exec.CommandContext(ctx, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-ldflags", "-s -w", "-tags", "no_grpc", "-o", program, "./test/bench/floor")
	cmd.Dir = b.store.Checkout
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the floor: %w\n%s", err, out)
	}
	return program, nil
}

// measureTimeline lays `ctr run --rm` out over the processes that take part in it,
// by the marks that the shim logs, and measures it with the floor as well.
func measureTimeline(ctx context.Context, b *bench, rounds int) (figures []*figure, _ error) {
	const program, warmUp = "hello-c", 2
	return figures, b.withDaemon(ctx, []string{program}, func(d *daemon.Daemon) error {
		floor, err := b.floorProgram(ctx, filepath.Join(d.Dir, "work"))
		if err != nil {
			return err
		}
		wall := newFigure("timeline", "ctr run --rm of "+program, "wall time", "ms", wasm, "floor")
		calls := map[string][2]int64{}
		for round := range b.rounds("timeline", rounds+warmUp) {
			for i, runtime := range []string{contenders[0].runtime, floor} {
				id := d.NewID("bench")
				began := timeline.Now()
				r := d.Ctr(ctx, "run", "--rm", "--runtime", runtime, contenders[0].ref(program), id)
				ended := timeline.Now()
				if r.Code != 0 {
					return fmt.Errorf("%s: exit code %d\n%s%s", runtime, r.Code, r.Stdout, r.Stderr)
				}
				if round < warmUp {
					continue
				}
				wall.add(i, milliseconds(time.Duration(ended-began)))
				if i == 0 {
					calls[id] = [2]int64{began, ended}
				}
			}
		}
		steps, err := stepsOf(d.Log(), calls)
		figures = append([]*figure{wall}, steps...)
		return err
	})
}

// logged finds the marks in a line of the shim's.
var logged = regexp.MustCompile(`msg=(?:created|deleted) id=(\S+) .*timeline=("(?:[^"\\]|\\.)*")`)

// stepsOf returns a figure for each step between two marks of the calls, whose
// beginning and end calls has by the container's id.
func stepsOf(log string, calls map[string][2]int64) ([]*figure, error) {
	marks := map[string]timeline.Marks{}
	for _, line := range logged.FindAllStringSubmatch(log, -1) {
		text, err := strconv.Unquote(line[2])
		if err != nil {
			return nil, fmt.Errorf("timeline of %s: %w", line[1], err)
		}
		var some timeline.Marks
		if err := json.Unmarshal([]byte(text), &some); err != nil {
			return nil, fmt.Errorf("timeline of %s: %w", line[1], err)
		}
		marks[line[1]] = append(marks[line[1]], some...)
	}
	var figures []*figure
	at := map[string]*figure{}
	for _, id := range slices.Sorted(maps.Keys(calls)) {
		call := calls[id]
		if len(marks[id]) == 0 {
			return nil, fmt.Errorf("the shim logged no timeline of %s", id)
		}
		before := call[0]
		for _, m := range append(marks[id], timeline.Mark{Name: "ctr: has ended", At: call[1]}) {
			f := at[m.Name]
			if f == nil {
				f = newFigure("timeline", m.Name, "time since the mark before", "ms", wasm)
				f.Apart = true
				at[m.Name], figures = f, append(figures, f)
			}
			f.add(0, milliseconds(time.Duration(m.At-before)))
			before = m.At
		}
	}
	return figures, nil
}
