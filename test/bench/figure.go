package main

import (
	"fmt"
	"slices"

	"github.com/wasmshim/containerd-shim-wasm/test/bench/stats"
)

// The contenders that every comparison has: the first of a figure's is what it is
// about.
const (
	wasm   = "wasm"
	native = "native"
)

// figure is one quantity of one case, measured for one or more contenders.
type figure struct {
	// Measurement and Case say what was done.
	Measurement, Case string
	// Quantity is what was measured, in Unit.
	Quantity, Unit string
	// Target bounds the ratio of the first contender to the second: it is to be
	// at least that for what is better when it is more, such as a rate, and at
	// most that for what is better when it is less. 0 is none.
	Target     float64 `json:",omitempty"`
	MoreIsGood bool    `json:",omitempty"`
	// Most bounds the median of the first contender by itself.
	Most *float64 `json:",omitempty"`
	// Apart is set where a ratio says nothing: of what should be 0, say.
	Apart  bool `json:",omitempty"`
	Series []*series
}

// series holds the samples of one contender, one per round.
type series struct {
	Contender string
	Samples   []float64
}

// newFigure returns a figure for the contenders, without samples.
func newFigure(measurement, name, quantity, unit string, contenders ...string) *figure {
	f := &figure{Measurement: measurement, Case: name, Quantity: quantity, Unit: unit}
	for _, c := range contenders {
		f.Series = append(f.Series, &series{Contender: c})
	}
	return f
}

// add adds a sample of a contender, by its place.
func (f *figure) add(contender int, sample float64) {
	f.Series[contender].Samples = append(f.Series[contender].Samples, sample)
}

// median of the samples of a contender.
func (f *figure) median(contender int) float64 { return stats.Median(f.Series[contender].Samples) }

// ratios are those of the first contender to the other, round by round; none if
// they would say nothing.
func (f *figure) ratios(other int) []float64 {
	if f.Apart || other >= len(f.Series) {
		return nil
	}
	return stats.Ratios(f.Series[0].Samples, f.Series[other].Samples)
}

// met tells whether the median of what is bound is within its bound.
func (f *figure) met() bool {
	if f.Most != nil {
		return f.median(0) <= *f.Most
	}
	ratio := stats.Median(f.ratios(1))
	if f.MoreIsGood {
		return ratio >= f.Target
	}
	return ratio <= f.Target
}

// bound is the target in words; empty without one.
func (f *figure) bound() string {
	switch {
	case f.Most != nil:
		return fmt.Sprintf("<= %g %s", *f.Most, f.Unit)
	case f.Target == 0:
		return ""
	case f.MoreIsGood:
		return fmt.Sprintf(">= %.2f x", f.Target)
	}
	return fmt.Sprintf("<= %.2f x", f.Target)
}

// most is for figures that are bound by themselves.
func most(v float64) *float64 { return &v }

// percentile takes sorted samples.
func percentile(sorted []float64, p int) float64 { return stats.Percentile(sorted, float64(p)) }

// of returns a run's figure, or nil.
func (r *report) of(measurement, name, quantity string) *figure {
	i := slices.IndexFunc(r.Figures, func(f *figure) bool {
		return f.Measurement == measurement && f.Case == name && f.Quantity == quantity
	})
	if i < 0 {
		return nil
	}
	return r.Figures[i]
}
