// Command plot draws plots as SVG, as JSON on stdin describes them, into the
// directory that its argument names. It knows nothing of what is drawn.
//
// It is a Go module of its own because of the plotting library's dependencies.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// drawing is one plot. With Groups it has bars, a group of one for each series;
// without, lines.
type drawing struct {
	File, Title, X, Y string
	LogX, LogY        bool
	Groups            []string
	Series            []series
}

// series are the values of one colour. X is for lines; Low and High are the ends of
// bars' whiskers, none if they are empty.
type series struct {
	Name      string
	X, Y      []float64
	Low, High []float64
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: plot DIR")
	}
	var all []drawing
	if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil {
		return err
	}
	for _, d := range all {
		if err := d.write(filepath.Join(os.Args[1], filepath.Base(d.File))); err != nil {
			return fmt.Errorf("%s: %w", d.File, err)
		}
	}
	return nil
}
