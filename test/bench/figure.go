package main

import "slices"

// The contenders: the first of a figure's is what it is about.
const (
	wasm   = "wasm"
	native = "native"
)

// figure is one quantity of one case, measured for several contenders.
type figure struct {
	// Measurement and Case say what was done.
	Measurement, Case string
	// Quantity is what was measured, in Unit.
	Quantity, Unit string
	// Target bounds the ratio of the first contender to the second: it is to be
	// at least that for what is better when it is more, such as a rate, and at
	// most that for what is better when it is less. 0 is none.
	Target     float64
	MoreIsGood bool
	Series     []*series
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
func (f *figure) median(contender int) float64 {
	return percentile(slices.Sorted(slices.Values(f.Series[contender].Samples)), 50)
}

// ratios are those of the first contender to the other, round by round, sorted.
func (f *figure) ratios(other int) []float64 {
	ratios := make([]float64, len(f.Series[0].Samples))
	for i := range ratios {
		ratios[i] = f.Series[0].Samples[i] / f.Series[other].Samples[i]
	}
	slices.Sort(ratios)
	return ratios
}

// met tells whether the median of the ratios is within the target.
func (f *figure) met() bool {
	ratio := percentile(f.ratios(1), 50)
	if f.MoreIsGood {
		return ratio >= f.Target
	}
	return ratio <= f.Target
}

// percentile takes sorted samples.
func percentile(sorted []float64, p int) float64 { return sorted[(len(sorted)-1)*p/100] }
