package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// document writes the run into docs/performance.md, with its plots beside it, and
// makes it the baseline. The text around it stays: it is in pairs of lines
//
//	<!-- bench: NAME -->
//	<!-- end -->
//
// where NAME is machine, budgets, or a measurement's, between which tables and links
// to plots are written anew.
func (r *report) document(ctx context.Context, checkout, plots string) error {
	for _, m := range measurements {
		if !r.has(m.name) || !r.Machine.Full {
			return fmt.Errorf("-doc is for a whole run with -full, and this one is short or lacks %s", m.name)
		}
	}
	file := filepath.Join(checkout, "docs/performance.md")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	filled, err := fill(string(text), r.section)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	dir := filepath.Join(checkout, "docs/performance")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := r.plot(ctx, plots, dir); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(filled), 0o644); err != nil {
		return err
	}
	return r.writeBaseline(filepath.Join(checkout, "test/bench/baseline.json"))
}

// section writes what belongs between the lines of that name.
func (r *report) section(name string, to io.Writer) error {
	switch name {
	case "machine":
		return r.writeMachine(to)
	case "budgets":
		return r.writeBudgets(to)
	}
	for _, m := range measurements {
		if m.name == name {
			return r.writeSection(to, name)
		}
	}
	return fmt.Errorf("there is no measurement %s", name)
}

// writeSection writes the table of a measurement and the plots beside it; nothing if
// the run does not have it.
func (r *report) writeSection(to io.Writer, measurement string) error {
	if err := r.writeRows(to, measurement); err != nil {
		return err
	}
	for _, d := range r.drawings() {
		if d.measurement == measurement {
			fmt.Fprintf(to, "\n![%s](performance/%s)\n", d.Title, d.File)
		}
	}
	return nil
}

// fill replaces what is between the lines of each section, unless there is nothing
// to replace it by.
func fill(text string, section func(name string, to io.Writer) error) (string, error) {
	const begins, ends = "<!-- bench: ", "<!-- end -->"
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, begins)
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, rest, found := strings.Cut(rest, " -->\n")
		old, after, closed := strings.Cut(rest, ends)
		if !found || !closed {
			return "", fmt.Errorf("%q has no end", begins+name)
		}
		var b bytes.Buffer
		if err := section(name, &b); err != nil {
			return "", err
		}
		if b.Len() == 0 {
			b.WriteString(old)
		} else {
			b.WriteString("\n") // a table ends with an empty line
		}
		out.WriteString(begins + name + " -->\n" + b.String() + ends)
		text = after
	}
}
