// Package stats is the arithmetic of the benchmark: percentiles, and how far a
// median could be from what it was measured to be. It knows nothing of containers.
package stats

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Percentile returns the value that p percent of the samples do not exceed, by
// linear interpolation between the two that are nearest. It does not change
// samples; of none it is NaN.
func Percentile(samples []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	return ofSorted(sorted, p)
}

func ofSorted(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := p / 100 * float64(len(sorted)-1)
	below := int(math.Floor(at))
	if below+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	part := at - float64(below)
	return sorted[below]*(1-part) + sorted[below+1]*part
}

// Median is the 50th percentile.
func Median(samples []float64) float64 { return Percentile(samples, 50) }

// Interval is where a value lies with some confidence.
type Interval struct{ Low, High float64 }

// Disjoint tells whether no value is in both.
func (i Interval) Disjoint(other Interval) bool { return i.High < other.Low || other.High < i.Low }

// resamples are enough for the ends of an interval of 99 %: ten medians lie
// beyond each.
const resamples = 2000

// MedianInterval returns the interval of confidence (0.99 is 99 %) of the
// samples' median by the bootstrap: the medians of as many samples, drawn from
// them with replacement. The same samples have the same interval each time. Of
// fewer than three nothing can be said, and it reaches from 0 to infinity.
func MedianInterval(samples []float64, confidence float64) Interval {
	if len(samples) < 3 {
		return Interval{0, math.Inf(1)}
	}
	draw := rand.New(rand.NewPCG(1, 2))
	medians := make([]float64, resamples)
	drawn := make([]float64, len(samples))
	for i := range medians {
		for k := range drawn {
			drawn[k] = samples[draw.IntN(len(samples))]
		}
		slices.Sort(drawn)
		medians[i] = ofSorted(drawn, 50)
	}
	slices.Sort(medians)
	outside := (1 - confidence) / 2 * 100
	return Interval{ofSorted(medians, outside), ofSorted(medians, 100-outside)}
}

// Ratios divides the samples of one series by those of another, pair by pair: both
// of a pair were measured in the same round, with the same noise. Pairs without a
// ratio (something by nothing) are left out.
func Ratios(a, b []float64) (ratios []float64) {
	for i := range min(len(a), len(b)) {
		if r := a[i] / b[i]; !math.IsNaN(r) && !math.IsInf(r, 0) {
			ratios = append(ratios, r)
		}
	}
	return ratios
}
