// Command suite runs the project's tests by phase and sums them up.
//
//	suite [-bin DIR] [-fuzztime DURATION] [-targets REGEXP] [-parallel N] [-jobs N] [lint] [unit] [fuzz] [gostd] [chart] [e2e] [kubelet] [kind] [client-suite] [vm]
//
// Its last line is always of the form "12 passed, 0 failed, 1 skipped"; lines before
// it tell what failed, how long each phase and the slowest tests took, and once more how
// each failure begins. It exits with 1 when something failed or when a test skipped that
// test/skips.txt does not list. Whatever killed tests leave on the machine is removed at
// the end.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// suite is one run.
type suite struct {
	bin   string
	store *provision.Store
	tally *tally
	// fuzzing is for the phase of that name.
	fuzzing fuzzing
}

// phase is a part of the tests that can be asked for by name.
type phase struct {
	name string
	run  func(*suite, context.Context) error
}

var phases = []phase{
	{"lint", (*suite).lint},
	{"unit", (*suite).unit},
	{"gostd", (*suite).standardTests},
	{"chart", (*suite).chart},
	{"fuzz", (*suite).fuzz},
	{"e2e", (*suite).endToEnd},
	{"kubelet", (*suite).kubelet},
	{"kind", (*suite).kind},
	{"client-suite", (*suite).clientSuite},
	{"vm", (*suite).virtualMachine},
}

func main() {
	bin := flag.String("bin", "bin", "directory of the project's programs")
	var f fuzzing
	flag.DurationVar(&f.time, "fuzztime", 3*time.Second, "time for each fuzz target")
	flag.IntVar(&f.workers, "parallel", 0, "processes of a fuzz target; 0: as many as processors")
	flag.IntVar(&f.jobs, "jobs", runtime.NumCPU(), "fuzz targets at a time")
	pattern := flag.String("targets", "", "run only fuzz targets that match, such as runner.FuzzInspect")
	flag.Parse()
	var err error
	if f.targets, err = regexp.Compile(*pattern); err != nil || f.jobs < 1 {
		os.Exit(fatal(fmt.Errorf("-targets %q, -jobs %d: %v", *pattern, f.jobs, err)))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, *bin, f, flag.Args()))
}

func run(ctx context.Context, bin string, f fuzzing, names []string) int {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return fatal(err)
	}
	store, err := provision.Open(os.Stdout)
	if err != nil {
		return fatal(err)
	}
	allowed, err := readSkips(filepath.Join(store.Checkout, "test/skips.txt"))
	if err != nil {
		return fatal(err)
	}
	s := &suite{bin: bin, store: store, tally: newTally(allowed, os.Stdout), fuzzing: f}
	var times []string
	for _, name := range names {
		began := time.Now()
		if err := s.phase(ctx, name); err != nil {
			s.tally.fail(name, err.Error())
		}
		times = append(times, fmt.Sprintf("%s %.0f s", name, time.Since(began).Seconds()))
	}
	swept, err := daemon.SweepAbandoned(context.Background())
	if err != nil {
		s.tally.fail("sweep", err.Error())
	}
	for _, dir := range swept {
		fmt.Println("removed the abandoned daemon of", dir)
	}
	fmt.Println()
	s.tally.report()
	if lines := s.tally.slowest(10); len(lines) > 0 {
		fmt.Printf("slowest tests:\n%s\n", strings.Join(lines, "\n"))
	}
	fmt.Println("phases:", times)
	for _, line := range s.tally.beginnings() {
		fmt.Println(line)
	}
	fmt.Println(s.tally.summary())
	if s.tally.failed > 0 {
		return 1
	}
	return 0
}

func (s *suite) phase(ctx context.Context, name string) error {
	for _, p := range phases {
		if p.name == name {
			fmt.Printf("==> %s\n", name)
			return p.run(s, ctx)
		}
	}
	return fmt.Errorf("there is no phase %s", name)
}

func fatal(err error) int {
	fmt.Fprintln(os.Stderr, "suite:", err)
	return 1
}
