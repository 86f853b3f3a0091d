package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/wasmshim/containerd-shim-wasm/test/bench/stats"
)

// baseline is what later runs are compared with: ratios, which are less of a
// machine's than times are.
type baseline struct {
	Machine string
	Ratios  []baseRatio
}

// baseRatio is the ratio of the first contender to another.
type baseRatio struct {
	Measurement, Case, Quantity, Contenders string
	Ratio                                   float64
	Interval                                stats.Interval
	MoreIsGood                              bool `json:",omitempty"`
}

// key tells ratios apart.
func (b *baseRatio) key() string {
	return strings.Join([]string{b.Measurement, b.Case, b.Quantity, b.Contenders}, ": ")
}

// ratios are all of a run that have an interval.
func (r *report) ratios() (all []baseRatio) {
	for _, f := range r.Figures {
		for other := 1; other < len(f.Series); other++ {
			ratios := f.ratios(other)
			if len(ratios) < leastRounds {
				continue
			}
			all = append(all, baseRatio{
				Measurement: f.Measurement, Case: f.Case, Quantity: f.Quantity,
				Contenders: f.Series[0].Contender + " / " + f.Series[other].Contender,
				Ratio:      stats.Median(ratios), Interval: stats.MedianInterval(ratios, confidence), MoreIsGood: f.MoreIsGood,
			})
		}
	}
	return all
}

func (r *report) writeBaseline(file string) error {
	b, err := json.MarshalIndent(baseline{r.Machine.String(), r.ratios()}, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// tolerance is the least change that counts: two builds of the same source differ
// by some, since code lies elsewhere in memory, and so do two days of a machine.
const tolerance = 0.10

// verdict is what became of a ratio.
type verdict int

const (
	unmoved verdict = iota
	better
	worse
)

// moved says whether a ratio has changed beyond noise: by more than the tolerance,
// and to an interval that has nothing in common with the one before.
func (b *baseRatio) moved(now baseRatio) verdict {
	change := now.Ratio/b.Ratio - 1
	if !now.Interval.Disjoint(b.Interval) || max(change, -change) <= tolerance {
		return unmoved
	}
	if (change > 0) == b.MoreIsGood {
		return better
	}
	return worse
}

// errWorse is why a comparison fails.
var errWorse = errors.New("worse than the baseline beyond noise")

// compareWith prints what has moved since the baseline in a file was measured. It
// fails with errWorse if something has become worse.
func (r *report) compareWith(file string, to io.Writer) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no baseline %s: make one with -full -doc on a quiet machine: %w", file, err)
	}
	if err != nil {
		return err
	}
	var base baseline
	if err := json.Unmarshal(b, &base); err != nil {
		return fmt.Errorf("%s is no baseline: %w", file, err)
	}
	fmt.Fprintf(to, "\nCompared with the baseline of %s\n", base.Machine)
	before := map[string]*baseRatio{}
	for i := range base.Ratios {
		before[base.Ratios[i].key()] = &base.Ratios[i]
	}
	counts := map[verdict]int{}
	for _, now := range r.ratios() {
		then := before[now.key()]
		if then == nil {
			fmt.Fprintf(to, "new     %s: %s\n", now.key(), number(now.Ratio))
			continue
		}
		v := then.moved(now)
		counts[v]++
		if v != unmoved {
			fmt.Fprintf(to, "%-7s %s: %s (%s–%s) was %s (%s–%s)\n", map[verdict]string{better: "better", worse: "WORSE"}[v], now.key(),
				number(now.Ratio), number(now.Interval.Low), number(now.Interval.High),
				number(then.Ratio), number(then.Interval.Low), number(then.Interval.High))
		}
	}
	compared := counts[better] + counts[worse] + counts[unmoved]
	fmt.Fprintf(to, "%d better, %d worse, %d as before; %d of the baseline not measured\n",
		counts[better], counts[worse], counts[unmoved], len(base.Ratios)-compared)
	if counts[worse] > 0 {
		return errWorse
	}
	return nil
}
