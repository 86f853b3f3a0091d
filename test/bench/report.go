package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// report is a whole run, as bench.json holds it.
type report struct {
	Machine machine
	Figures []*figure
}

// writeFiles writes the raw samples and the table.
func (r *report) writeFiles(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	md, err := os.Create(filepath.Join(dir, "bench.md"))
	if err != nil {
		return err
	}
	return errors.Join(r.writeMarkdown(md), md.Close(), os.WriteFile(filepath.Join(dir, "bench.json"), append(b, '\n'), 0o644))
}

// writeMarkdown writes a table with a line for each figure and contender to
// compare with: medians, and the ratio round by round.
func (r *report) writeMarkdown(to io.Writer) error {
	if _, err := fmt.Fprintf(to, "%s\n\n", r.Machine); err != nil {
		return err
	}
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| measurement\t| case\t| quantity\t| contenders\t| medians\t| ratio\t| p10–p90\t| rounds\t| target\t|")
	fmt.Fprintln(w, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, f := range r.Figures {
		for other := 1; other < len(f.Series); other++ {
			ratios := f.ratios(other)
			fmt.Fprintf(w, "| %s\t| %s\t| %s\t| %s / %s\t| %s / %s %s\t| %.2f\t| %.2f–%.2f\t| %d\t| %s\t|\n",
				f.Measurement, f.Case, f.Quantity, f.Series[0].Contender, f.Series[other].Contender,
				number(f.median(0)), number(f.median(other)), f.Unit,
				percentile(ratios, 50), percentile(ratios, 10), percentile(ratios, 90), len(ratios), f.verdict(other))
		}
	}
	return w.Flush()
}

// verdict is the target and whether it is met.
func (f *figure) verdict(other int) string {
	if f.Target == 0 || other != 1 {
		return ""
	}
	bound, met := "<=", "missed"
	if f.MoreIsGood {
		bound = ">="
	}
	if f.met() {
		met = "met"
	}
	return fmt.Sprintf("%s %.2f: %s", bound, f.Target, met)
}

// number has three significant digits or more.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
