package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/wasmshim/containerd-shim-wasm/test/bench/stats"
)

// budget is a promise, with the figure that shows whether it is kept. Its bound is
// the figure's.
type budget struct {
	what, measurement, name, quantity string
}

// budgets are all promises. name is how the figure's case begins: sizes of modules
// and numbers of seconds follow.
var budgets = []budget{
	{"`ctr run --rm` of a hello of 24 KB in C, compiled before", "run", "ctr run --rm of hello-c", "wall time"},
	{"Create and Start to the first byte in an existing Pod", "first", "C, ", toFirst},
	{"the same of a hello of 2.6 MB in Go", "first", "Go, ", toFirst},
	{"memory of a further idle container's process (PSS)", "memory", "one Pod", "PSS of a further container's process"},
	{"memory of an idle shim with one container (PSS)", "memory", "1 in one Pod", "PSS of a shim"},
	{"TCP echo at 64 connections", "server", "echo", "answers"},
	{"HTTP at 64 connections", "server", "HTTP", "answers"},
	{"CPU of an idle guest", "idle", "a container that waits", "CPU of its process in a minute"},
}

// writeBudgets writes a line for each promise.
func (r *report) writeBudgets(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| budget\t| bound\t| measured\t| 99 % of it\t| \t|")
	fmt.Fprintln(w, "| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, b := range budgets {
		f := r.figureOf(b)
		if f == nil {
			fmt.Fprintf(w, "| %s\t| \t| \t| \t| not measured\t|\n", b.what)
			continue
		}
		samples, unit := f.ratios(1), " x "+f.Series[min(1, len(f.Series)-1)].Contender
		if f.Most != nil {
			samples, unit = f.Series[0].Samples, " "+f.Unit
		}
		verdict := "**missed**"
		if f.met() {
			verdict = "met"
		}
		fmt.Fprintf(w, "| %s\t| %s\t| %s%s\t| %s\t| %s\t|\n", b.what, f.bound(), number(stats.Median(samples)), unit, intervalText(samples), verdict)
	}
	return w.Flush()
}

// figureOf is the figure of a promise in a run, or nil: the first that has a bound.
func (r *report) figureOf(b budget) *figure {
	for _, f := range r.Figures {
		if f.Measurement == b.measurement && strings.HasPrefix(f.Case, b.name) && f.Quantity == b.quantity && f.bound() != "" {
			return f
		}
	}
	return nil
}
