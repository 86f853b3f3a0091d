package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestPercentileInterpolates(t *testing.T) {
	samples := []float64{40, 10, 30, 20}
	for _, c := range []struct{ p, want float64 }{{0, 10}, {50, 25}, {100, 40}, {90, 37}, {25, 17.5}} {
		if got := Percentile(samples, c.p); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("percentile %v is %v, want %v", c.p, got, c.want)
		}
	}
	if !slices.Equal(samples, []float64{40, 10, 30, 20}) {
		t.Errorf("the samples are %v afterwards", samples)
	}
	if got := Percentile([]float64{7}, 99); got != 7 {
		t.Errorf("percentile of one sample is %v", got)
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("median of none is %v", got)
	}
}

// Whoever claims 95 % has to be right about that often. The bootstrap of a median
// is a little too narrow for small numbers.
func TestIntervalHoldsTheMedianAsOftenAsItSays(t *testing.T) {
	draw := rand.New(rand.NewPCG(3, 4))
	const trials, size = 300, 25
	held := 0
	for range trials {
		samples := make([]float64, size)
		for i := range samples {
			samples[i] = math.Exp(draw.NormFloat64()) // skewed, as times are; its median is 1
		}
		if i := MedianInterval(samples, 0.95); i.Low <= 1 && 1 <= i.High {
			held++
		}
	}
	if share := float64(held) / trials; share < 0.90 || share > 0.995 {
		t.Errorf("%.1f %% of intervals of 95 %% hold the median", share*100)
	}
}

func TestIntervalOfEqualSamplesIsAPoint(t *testing.T) {
	if i := MedianInterval([]float64{2, 2, 2, 2}, 0.99); i != (Interval{2, 2}) {
		t.Errorf("got %v", i)
	}
}

func TestIntervalOfTooFewSamplesExcludesNothing(t *testing.T) {
	i := MedianInterval([]float64{2, 2}, 0.99)
	if i.Disjoint(Interval{1e9, 1e9}) || i.Disjoint(Interval{0, 0}) {
		t.Errorf("got %v", i)
	}
}

func TestIntervalIsTheSameEachTime(t *testing.T) {
	samples := []float64{1, 5, 2, 8, 3, 9, 4}
	if a, b := MedianInterval(samples, 0.95), MedianInterval(samples, 0.95); a != b {
		t.Errorf("%v and then %v", a, b)
	}
}

func TestDisjoint(t *testing.T) {
	for _, c := range []struct {
		a, b Interval
		want bool
	}{
		{Interval{1, 2}, Interval{3, 4}, true},
		{Interval{3, 4}, Interval{1, 2}, true},
		{Interval{1, 3}, Interval{3, 4}, false},
		{Interval{1, 4}, Interval{2, 3}, false},
	} {
		if got := c.a.Disjoint(c.b); got != c.want {
			t.Errorf("%v and %v: %v", c.a, c.b, got)
		}
	}
}

func TestRatiosArePairs(t *testing.T) {
	got := Ratios([]float64{2, 9, 0, 1}, []float64{1, 3, 0, 0})
	if !slices.Equal(got, []float64{2, 3}) {
		t.Errorf("got %v", got)
	}
}
