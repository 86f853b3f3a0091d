package main

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/bench/stats"
)

func TestMoved(t *testing.T) {
	base := baseRatio{Ratio: 1, Interval: stats.Interval{Low: 0.95, High: 1.05}}
	now := func(low, ratio, high float64) baseRatio {
		return baseRatio{Ratio: ratio, Interval: stats.Interval{Low: low, High: high}}
	}
	for _, c := range []struct {
		name       string
		now        baseRatio
		moreIsGood bool
		want       verdict
	}{
		{"the same", base, false, unmoved},
		{"more, but the intervals meet", now(1.04, 1.5, 2), false, unmoved},
		{"apart, but by less than the tolerance", now(1.06, 1.08, 1.09), false, unmoved},
		{"more time", now(1.2, 1.3, 1.4), false, worse},
		{"less time", now(0.6, 0.7, 0.8), false, better},
		{"a greater rate", now(1.2, 1.3, 1.4), true, better},
		{"a smaller rate", now(0.6, 0.7, 0.8), true, worse},
	} {
		before := base
		before.MoreIsGood = c.moreIsGood
		if got := before.moved(c.now); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// runWith returns a report with one figure whose ratios are about ratio.
func runWith(ratio float64) *report {
	f := newFigure("calls", "direct", "Create", "ms", wasm, native)
	for i := range 20 {
		noise := 1 + 0.001*float64(i%5)
		f.add(0, ratio*noise)
		f.add(1, 1)
	}
	return &report{Figures: []*figure{f}}
}

func TestCompareWithBaseline(t *testing.T) {
	file := filepath.Join(t.TempDir(), "baseline.json")
	if err := runWith(0.5).compareWith(file, io.Discard); err == nil || !strings.Contains(err.Error(), "-doc") {
		t.Errorf("without a baseline: %v", err)
	}
	if err := runWith(0.5).writeBaseline(file); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ratio float64
		says  string
		err   error
	}{
		{0.5, "0 better, 0 worse, 1 as before", nil},
		{0.3, "better  calls: direct: Create: wasm / native: 0.30", nil},
		{0.8, "WORSE   calls: direct: Create: wasm / native: 0.80", errWorse},
	} {
		var out bytes.Buffer
		if err := runWith(c.ratio).compareWith(file, &out); !errors.Is(err, c.err) {
			t.Errorf("%v: %v, want %v", c.ratio, err, c.err)
		}
		if !strings.Contains(out.String(), c.says) {
			t.Errorf("%v: it says\n%s", c.ratio, &out)
		}
	}
}

func TestRatiosThatSayNothingAreNotCompared(t *testing.T) {
	idle := runWith(0.5)
	idle.Figures[0].Apart = true
	few := newFigure("size", "Go", "PSS", "MiB", wasm, native)
	few.add(0, 1)
	few.add(1, 2)
	idle.Figures = append(idle.Figures, few)
	if got := idle.ratios(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestBudgetsFindTheirFigures(t *testing.T) {
	r := &report{}
	for _, b := range budgets {
		f := newFigure(b.measurement, b.name+" and more", b.quantity, "ms", wasm, native)
		f.Most = most(2)
		f.add(0, 1)
		f.add(1, 1)
		r.Figures = append(r.Figures, f)
	}
	r.Figures[0].Most, r.Figures[0].Target = nil, 0.6
	var out bytes.Buffer
	if err := r.writeBudgets(&out); err != nil {
		t.Fatal(err)
	}
	if met, missed := strings.Count(out.String(), "| met "), strings.Count(out.String(), "**missed**"); met != len(budgets)-1 || missed != 1 {
		t.Errorf("%d met and %d missed:\n%s", met, missed, &out)
	}
}
