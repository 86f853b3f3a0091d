// Command bench measures the shim against what one would use instead: the same
// program, compiled natively, in runc. Both take turns in short rounds, so that
// the noise of the machine hits them alike. Quote the ratios, not the times.
//
//	bench [-bin DIR] [-run REGEXP] [-rounds N] [-containerd VERSION] [-out DIR]
//
// Each measurement is a file of this package and has an entry in measurements.
// With -out, DIR/bench.json holds every sample and DIR/bench.md the table that is
// printed.
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
	"syscall"

	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// measurement is one subject. Its figures are of at least two contenders each.
type measurement struct {
	name string
	// rounds is how many there are unless -rounds says otherwise.
	rounds int
	run    func(ctx context.Context, b *bench, rounds int) ([]*figure, error)
}

var measurements = []measurement{
	{"run", 40, measureRun},
	{"server", 30, measureServers},
	{"file", 20, measureFiles},
	{"orders", 15, measureOrders},
	{"pods", 20, measurePods},
	{"size", 9, measureSizes},
}

// bench is what measurements share.
type bench struct {
	bin     string
	version string
	store   *provision.Store
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
	flag.StringVar(&b.bin, "bin", "bin", "directory of the project's programs")
	flag.StringVar(&b.version, "containerd", "2.4", "containerd version: 2.4, 2.2, 1.7 or 1.6")
	selected := flag.String("run", "", "measurements to make: a regular expression on run, server, file, orders, pods, size")
	rounds := flag.Int("rounds", 0, "rounds of each measurement; 0 for its own number")
	out := flag.String("out", "", "directory for bench.json and bench.md")
	flag.Parse()
	pattern, err := regexp.Compile(*selected)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if b.store, err = provision.Open(os.Stderr); err != nil {
		return err
	}
	r := report{Machine: describeMachine(b.version)}
	for _, m := range measurements {
		if !pattern.MatchString(m.name) {
			continue
		}
		n := m.rounds
		if *rounds > 0 {
			n = *rounds
		}
		figures, err := m.run(ctx, &b, n)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		r.Figures = append(r.Figures, figures...)
	}
	if len(r.Figures) == 0 {
		return errors.New("-run selects no measurement")
	}
	r.Machine.finish()
	if err := r.writeMarkdown(os.Stdout); err != nil || *out == "" {
		return err
	}
	return r.writeFiles(*out)
}

// progress says on stderr how far a measurement is.
func progress(what string, done, all int) {
	end := ""
	if done == all {
		end = "\n"
	}
	fmt.Fprintf(os.Stderr, "\r%s: round %d of %d%s", what, done, all, end)
}
