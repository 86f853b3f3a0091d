package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/wasmshim/containerd-shim-wasm/test/bench/stats"
)

// drawing is a plot as the program of test/bench/plot reads it.
type drawing struct {
	measurement       string
	File, Title, X, Y string
	LogX, LogY        bool     `json:",omitempty"`
	Groups            []string `json:",omitempty"`
	Series            []drawn
}

// drawn are the values of one colour: bars, one for each group, or a line.
type drawn struct {
	Name      string
	X         []float64 `json:",omitempty"`
	Y         []float64
	Low, High []float64 `json:",omitempty"`
}

// plot draws a run.
func (r *report) plot(ctx context.Context, program, dir string) error {
	b, err := json.Marshal(r.drawings())
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, dir)
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("plot: %w\n%s", err, out)
	}
	return nil
}

// drawings are the plots for which the run has figures.
func (r *report) drawings() (all []drawing) {
	bars := func(d drawing, include func(*figure) bool, group func(*figure) string) {
		for _, f := range r.Figures {
			if include(f) {
				d.measurement = f.Measurement
				d.addGroup(group(f), f)
			}
		}
		if len(d.Groups) > 0 {
			all = append(all, d)
		}
	}
	name := func(f *figure) string { return f.Case }
	quantity := func(f *figure) string { return strings.ReplaceAll(f.Quantity, " to the ", "\nto the ") }
	where := func(f *figure) string { return strings.Replace(f.Case, ", ", "\n", 2) }
	of := func(measurement, quantity string) func(*figure) bool {
		return func(f *figure) bool { return f.Measurement == measurement && f.Quantity == quantity }
	}
	bars(drawing{File: "run.svg", Title: "ctr run --rm: median, 10 to 90 %", Y: "ms"}, of("run", "wall time"), name)
	bars(drawing{File: "calls.svg", Title: "calls to a shim: median, 10 to 90 %", Y: "ms"},
		func(f *figure) bool { return f.Measurement == "calls" }, quantity)
	if f := r.of("calls", "to the shim, past containerd", toFirst); f != nil {
		all = append(all, distribution(f))
	}
	bars(drawing{File: "first.svg", Title: toFirst + ": median, 10 to 90 %", Y: "ms", LogY: true}, of("first", toFirst), where)
	bars(drawing{File: "cold.svg", Title: "the first start on a node: median, 10 to 90 %", Y: "ms", LogY: true}, of("first", toFirst+", never compiled"), where)
	bars(drawing{File: "rate.svg", Title: "containers a second: median, 10 to 90 %", Y: "1/s"}, of("rate", "containers"), where)
	bars(drawing{File: "memory.svg", Title: "PSS of a further container, with its share of shims", Y: "MiB"},
		of("memory", "PSS of a further container with its share of shims"), name)
	bars(drawing{File: "server.svg", Title: "answers a second at 64 connections: median, 10 to 90 %", Y: "1/s"},
		of("server", "answers"), name)
	bars(drawing{File: "orders.svg", Title: "answers a second of the order service: median, 10 to 90 %", Y: "1/s"},
		of("orders", "answers"), name)
	bars(drawing{File: "kernels.svg", Title: "computation: median, 10 to 90 %", Y: "ms", LogY: true}, of("kernels", "time"),
		func(f *figure) string { return strings.Replace(f.Case, " of ", "\nof ", 1) })
	return all
}

// addGroup adds bars for the figure's contenders. A contender that other groups lack
// has no bars there.
func (d *drawing) addGroup(name string, f *figure) {
	d.Groups = append(d.Groups, name)
	for _, s := range f.Series {
		i := slices.IndexFunc(d.Series, func(has drawn) bool { return has.Name == s.Contender })
		if i < 0 {
			i = len(d.Series)
			d.Series = append(d.Series, drawn{Name: s.Contender})
		}
		bar := &d.Series[i]
		for len(bar.Y) < len(d.Groups)-1 {
			bar.Y, bar.Low, bar.High = append(bar.Y, 0), append(bar.Low, 0), append(bar.High, 0)
		}
		if len(s.Samples) > 0 {
			bar.Y, bar.Low, bar.High = append(bar.Y, stats.Median(s.Samples)), append(bar.Low, stats.Percentile(s.Samples, 10)), append(bar.High, stats.Percentile(s.Samples, 90))
		}
	}
}

// distribution is how many of the samples were at most so long.
func distribution(f *figure) drawing {
	d := drawing{measurement: f.Measurement, File: "distribution.svg", Title: f.Quantity + ", " + f.Case, X: f.Unit, Y: "% of containers", LogX: true}
	for _, s := range f.Series {
		line := drawn{Name: s.Contender}
		for p := 0.0; p <= 100; p++ {
			line.X, line.Y = append(line.X, stats.Percentile(s.Samples, p)), append(line.Y, p)
		}
		d.Series = append(d.Series, line)
	}
	return d
}
