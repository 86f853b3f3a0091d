package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/wasmshim/containerd-shim-wasm/test/bench/stats"
)

// report is a whole run, as bench.json holds it.
type report struct {
	Machine machine
	// Absent are runtimes that could not be measured, with their reasons.
	Absent []string `json:",omitempty"`
	// Failed are measurements that ended with an error.
	Failed  []string `json:",omitempty"`
	Figures []*figure
}

// confidence is that of all intervals.
const confidence = 0.99

func readReport(file string) (*report, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s is not the bench.json of a run: %w", file, err)
	}
	return &r, nil
}

// writeFiles writes the raw samples, the tables and the plots.
func (r *report) writeFiles(ctx context.Context, dir, plots string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	md, err := os.Create(filepath.Join(dir, "bench.md"))
	if err != nil {
		return err
	}
	return errors.Join(r.writeMarkdown(md), md.Close(), os.WriteFile(filepath.Join(dir, "bench.json"), append(b, '\n'), 0o644),
		r.plot(ctx, plots, dir))
}

// writeMarkdown writes the budgets and a table for each measurement.
func (r *report) writeMarkdown(to io.Writer) error {
	if err := r.writeMachine(to); err != nil {
		return err
	}
	if err := r.writeBudgets(to); err != nil {
		return err
	}
	for _, m := range measurements {
		if !r.has(m.name) {
			continue
		}
		fmt.Fprintf(to, "\n**%s**\n\n", m.name)
		if err := r.writeRows(to, m.name); err != nil {
			return err
		}
	}
	return nil
}

// writeMachine writes where the run was made.
func (r *report) writeMachine(to io.Writer) error {
	text := r.Machine.String()
	if len(r.Absent) > 0 {
		text += "\n\nNot measured here: " + strings.Join(r.Absent, "; ") + "."
	}
	if len(r.Failed) > 0 {
		text += "\n\nFailed: " + strings.Join(r.Failed, ", ") + "."
	}
	_, err := fmt.Fprintf(to, "%s\n\n", text)
	return err
}

// has tells whether the run has figures of a measurement.
func (r *report) has(measurement string) bool {
	return slices.ContainsFunc(r.Figures, func(f *figure) bool { return f.Measurement == measurement })
}

// writeRows writes a line for each contender of a measurement's figures, or nothing
// if there are none. The ratio is that of the first contender to that of the line,
// round by round.
func (r *report) writeRows(to io.Writer, measurement string) error {
	if !r.has(measurement) {
		return nil
	}
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| case\t| quantity\t| of\t| p50\t| p90\t| p99\t| ratio\t| 99 % of ratio\t| n\t|")
	fmt.Fprintln(w, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, f := range r.Figures {
		if f.Measurement != measurement {
			continue
		}
		for i, s := range f.Series {
			name, quantity := f.Case, f.Quantity
			if f.Unit != "" {
				quantity += ", " + f.Unit
			}
			if i > 0 {
				name, quantity = "", ""
			}
			ratio, interval := "", ""
			if ratios := f.ratios(i); i > 0 && len(ratios) > 0 {
				ratio, interval = number(stats.Median(ratios)), intervalText(ratios)
			}
			fmt.Fprintf(w, "| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %d\t|\n", name, quantity, s.Contender,
				number(stats.Median(s.Samples)), number(stats.Percentile(s.Samples, 90)), number(stats.Percentile(s.Samples, 99)),
				ratio, interval, len(s.Samples))
		}
	}
	return w.Flush()
}

// intervalText is where the median of the samples is; empty if they are too few.
func intervalText(samples []float64) string {
	i := stats.MedianInterval(samples, confidence)
	if math.IsInf(i.High, 0) {
		return ""
	}
	return number(i.Low) + "–" + number(i.High)
}

// number has three significant digits or more.
func number(v float64) string {
	size := math.Abs(v)
	switch {
	case math.IsNaN(v):
		return "–"
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	case size >= 0.1 || v == 0:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
