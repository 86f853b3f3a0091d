package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/wasmshim/containerd-shim-wasm/runner"
)

// writeChecked writes what was found for programs or for people.
func writeChecked(w io.Writer, all []checked, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(all)
	}
	var b strings.Builder
	for i, r := range all {
		if i > 0 {
			b.WriteByte('\n')
		}
		r.write(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r checked) write(b *strings.Builder) {
	line := func(what, format string, args ...any) {
		fmt.Fprintf(b, "  %-9s %s\n", what, fmt.Sprintf(format, args...))
	}
	title := r.Operand
	if r.Image != "" && r.Image != r.Operand {
		title += ", image " + printable(r.Image)
	}
	fmt.Fprintln(b, printable(title))
	if r.Runs {
		line("runs", "yes")
	} else {
		line("runs", "no: %s", printable(r.Reason))
	}
	if r.Platform != "" {
		line("platform", "%s", printable(r.Platform))
	}
	if r.Module != "" && r.Module != r.Operand {
		from := ""
		if r.Layer {
			from = ", a layer of its own"
		}
		line("module", "%s%s", printable(r.Module), from)
	}
	if r.Digest != "" {
		line("size", "%s, %s", bytesText(uint64(r.Size)), r.Digest)
	}
	d := r.Description
	if d == nil {
		return
	}
	if d.Entry != "" {
		line("entry", "%s", d.Entry)
	}
	if m := d.Memory; m != nil {
		line("memory", "%s at first, at most %s", bytesText(m.Min), bytesText(m.Max))
	}
	if t := d.Tables; t != nil {
		line("tables", "%d elements at first, at most %d", t.Min, t.Max)
	}
	for _, g := range d.Imports {
		provider := g.Provider
		if provider == "" {
			provider = "nobody"
		}
		line("imports", "%s: %d%s", provider, g.Count, some(g))
	}
	line("exports", "%s", short(d.Exports))
	if d.Features.Count > 0 {
		line("features", "%s", short(d.Features))
	}
}

// some shows the names of imports that are of interest: WASI's own are not.
func some(g runner.ImportGroup) string {
	if g.Standard {
		return ""
	}
	names := g.Names
	names.Names = slices.Clone(names.Names)
	for i, n := range names.Names {
		names.Names[i] = strings.TrimPrefix(n, "wasi_snapshot_preview1.")
	}
	return " (" + short(names) + ")"
}

// short shows the first of many names.
func short(n runner.Names) string {
	const most = 8
	text := strings.Join(n.Names[:min(len(n.Names), most)], ", ")
	if n.Count > most {
		text += fmt.Sprintf(" and %d more", n.Count-most)
	}
	if n.Count == 0 {
		return "none"
	}
	return text
}

// printable keeps what others have written from moving a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func bytesText(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.4g GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.4g KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
