// Command bench measures the shim against what one would use instead: the same
// program, compiled natively, in runc and in crun. All take turns in short rounds,
// so that the noise of the machine hits them alike. Quote the ratios, not the times.
//
//	bench [-bin DIR] [-full] [-run REGEXP] [-rounds N] [-containerd VERSION] [-out DIR]
//	      [-from FILE] [-compare FILE] [-doc]
//
// Without -full it ends within three minutes once everything is built, with it
// within thirty. Each measurement is a file of this package and has an entry in
// measurements. DIR gets bench.json with every sample, bench.md with the table that
// is printed, and plots. With -from they are made of an earlier run's bench.json
// instead of a new run.
//
// -compare compares with a baseline and fails if something is worse beyond noise;
// -doc writes the run into docs/performance.md and makes it the baseline.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// measurement is one subject. The figures are what it has found.
type measurement struct {
	name        string
	short, full effort
	run         func(ctx context.Context, b *bench, rounds int) ([]*figure, error)
}

// effort is what a measurement may take; without rounds it is not made.
type effort struct {
	rounds int
	most   time.Duration // how long rounds begin; those that count rounds alone ignore it
}

var measurements = []measurement{
	{"run", effort{15, 15 * time.Second}, effort{100, 90 * time.Second}, measureRun},
	{"timeline", effort{8, 8 * time.Second}, effort{60, 45 * time.Second}, measureTimeline},
	{"calls", effort{60, 12 * time.Second}, effort{500, 90 * time.Second}, measureCalls},
	{"first", effort{8, 30 * time.Second}, effort{60, 4 * time.Minute}, measureFirstByte},
	{"rate", effort{3, 15 * time.Second}, effort{30, 3 * time.Minute}, measureRate},
	{"memory", effort{1, 0}, effort{5, 5 * time.Minute}, measureMemory},
	{"server", effort{4, 0}, effort{30, 0}, measureServers},
	{"file", effort{2, 0}, effort{20, 0}, measureFiles},
	{"kernels", effort{3, 10 * time.Second}, effort{20, 90 * time.Second}, measureKernels},
	{"idle", effort{3, 15 * time.Second}, effort{3, 4 * time.Minute}, measureIdle},
	{"pods", effort{5, 0}, effort{20, 0}, measurePods},
	{"size", effort{}, effort{9, 0}, measureSizes},
	{"orders", effort{}, effort{15, 0}, measureOrders},
	{"growth", effort{}, effort{2000, 0}, measureGrowth},
}

// bench is what measurements share.
type bench struct {
	bin     string
	version string
	full    bool
	store   *provision.Store
	// all and absent are set by probe.
	all    []contender
	absent []string
	// began and most are those of the measurement under way.
	began time.Time
	most  time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	var b bench
	var names []string
	for _, m := range measurements {
		names = append(names, m.name)
	}
	flag.StringVar(&b.bin, "bin", "bin", "directory of the project's programs")
	flag.StringVar(&b.version, "containerd", "2.4", "containerd version: 2.4, 2.2, 1.7 or 1.6")
	flag.BoolVar(&b.full, "full", false, "measure for thirty minutes instead of three")
	selected := flag.String("run", "", "measurements to make: a regular expression on "+strings.Join(names, ", "))
	rounds := flag.Int("rounds", 0, "rounds of each measurement; 0 for its own number")
	out := flag.String("out", "", "directory for bench.json, bench.md and plots; bench in that of the programs if empty")
	from := flag.String("from", "", "bench.json of an earlier run, instead of a new one")
	baseline := flag.String("compare", "", "baseline to compare with")
	doc := flag.Bool("doc", false, "write the run into docs/performance.md and test/bench/baseline.json")
	flag.Parse()
	pattern, err := regexp.Compile(*selected)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if *out == "" {
		*out = filepath.Join(b.bin, "bench")
	}
	if b.store, err = provision.Open(os.Stderr); err != nil {
		return err
	}
	var r *report
	if *from != "" {
		r, err = readReport(*from)
	} else {
		r, err = b.measure(ctx, pattern, *rounds, *selected != "")
	}
	if err != nil {
		return err
	}
	if err := r.writeMarkdown(os.Stdout); err != nil {
		return err
	}
	plots, err := b.store.Plot(ctx)
	if err != nil {
		return err
	}
	if err := r.writeFiles(ctx, *out, plots); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "bench: wrote", *out)
	if len(r.Failed) > 0 {
		return fmt.Errorf("these measurements failed: %s", strings.Join(r.Failed, ", "))
	}
	if *doc {
		if err := r.document(ctx, b.store.Checkout, plots); err != nil {
			return err
		}
	}
	if *baseline != "" {
		return r.compareWith(*baseline, os.Stdout)
	}
	return nil
}

// measure makes the measurements that match, one after the other. Those that the
// mode leaves out are made if they were asked for by name. One that fails is tried
// once more, and does not take the others with it.
func (b *bench) measure(ctx context.Context, pattern *regexp.Regexp, rounds int, named bool) (*report, error) {
	// Of a run that was killed.
	if _, err := daemon.SweepAbandoned(ctx); err != nil {
		return nil, err
	}
	if err := b.provision(ctx); err != nil {
		return nil, err
	}
	r := &report{Machine: describeMachine(ctx, b), Absent: b.absent}
	began := time.Now()
	for i, m := range measurements {
		e := m.short
		if b.full || named && e.rounds == 0 {
			e = m.full
		}
		if !pattern.MatchString(m.name) || e.rounds == 0 {
			continue
		}
		if rounds > 0 {
			e = effort{rounds, time.Hour}
		}
		fmt.Fprintf(os.Stderr, "[%d of %d, %.0f s] %s\n", i+1, len(measurements), time.Since(began).Seconds(), m.name)
		figures, err := b.attempt(ctx, m, e)
		if err != nil && ctx.Err() == nil {
			// Of thirty minutes, one runtime's bad moment is not to be the end.
			figures, err = b.attempt(ctx, m, e)
		}
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
		if err != nil {
			r.Failed = append(r.Failed, m.name)
		}
		r.Figures = append(r.Figures, figures...)
	}
	if len(r.Figures)+len(r.Failed) == 0 {
		return nil, errors.New("-run selects no measurement")
	}
	r.Machine.finish(time.Since(began))
	return r, nil
}

// attempt makes a measurement. It tells of an error, and has no figures then.
func (b *bench) attempt(ctx context.Context, m measurement, e effort) ([]*figure, error) {
	b.began, b.most = time.Now(), e.most
	figures, err := m.run(ctx, b, e.rounds)
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nbench: %s: %v\n", m.name, err)
		return nil, err
	}
	return figures, nil
}
