package main

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
)

// fuzzing says how the phase fuzz goes.
type fuzzing struct {
	// time is for each target.
	time time.Duration
	// targets selects by package and name, such as runner.FuzzInspect.
	targets *regexp.Regexp
	// workers are the processes of one target, jobs the targets at a time; 0
	// workers are what the processors allow.
	workers, jobs int
}

// target is one fuzz target.
type target struct {
	// dir is the package's, relative to the checkout.
	dir, importPath, name string
}

func (t target) String() string { return strings.TrimPrefix(t.dir+".", "./") + t.name }

// outcome is what a run of a target came to.
type outcome struct {
	target
	took               time.Duration
	execs, interesting int
	// finding is empty when all went well.
	finding string
}

// minimizeTime bounds how long the engine shortens one input. Its own bound, a
// minute, is longer than a short run.
const minimizeTime = time.Second

// fuzz runs every fuzz target of the module, each as one test. What a target finds
// stays in its testdata, where the next unit test finds it again.
func (s *suite) fuzz(ctx context.Context) error {
	targets, err := s.fuzzTargets(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fuzz-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Many targets make files, which on a disk would wait for its journal; and what
	// a worker leaves that is ended in the middle is removed with the directory.
	scratch, err := os.MkdirTemp("/dev/shm", "fuzz-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	programs, err := s.fuzzPrograms(ctx, dir, targets)
	if err != nil {
		return err
	}
	cache, err := s.output(ctx, "go", "env", "GOCACHE")
	if err != nil {
		return err
	}
	if s.fuzzing.time < time.Minute {
		// To load what long runs have kept would take all of a short one.
		cache = dir
	}
	workers := s.fuzzing.workers
	if workers == 0 {
		workers = max(1, runtime.GOMAXPROCS(0)/s.fuzzing.jobs)
	}
	queue, outcomes := make(chan target), make(chan outcome)
	var running sync.WaitGroup
	for range s.fuzzing.jobs {
		running.Go(func() {
			for t := range queue {
				outcomes <- s.fuzzOne(ctx, t, programs[t.dir], scratch,
					"-test.fuzztime", s.fuzzing.time.String(), "-test.fuzzminimizetime", minimizeTime.String(),
					"-test.parallel", strconv.Itoa(workers),
					"-test.fuzzcachedir", filepath.Join(strings.TrimSpace(cache), "fuzz", t.importPath))
			}
		})
	}
	go func() {
		for _, t := range targets {
			if ctx.Err() == nil {
				queue <- t
			}
		}
		close(queue)
		running.Wait()
		close(outcomes)
	}()
	var all []outcome
	for o := range outcomes {
		all = append(all, o)
		if name := "fuzz/" + o.target.String(); o.finding != "" {
			s.tally.fail(name, o.finding)
			// The report comes at the end, which may be hours away.
			fmt.Println(o.finding)
		} else {
			s.tally.pass(name)
		}
	}
	printOutcomes(os.Stdout, all)
	return ctx.Err()
}

// fuzzTargets finds the selected targets by reading every test file of the module.
func (s *suite) fuzzTargets(ctx context.Context) ([]target, error) {
	list, err := s.output(ctx, "go", "list", "-f", `{{.Dir}}{{"\t"}}{{.ImportPath}}{{range .TestGoFiles}}{{"\t"}}{{.}}{{end}}{{range .XTestGoFiles}}{{"\t"}}{{.}}{{end}}`, "./...")
	if err != nil {
		return nil, err
	}
	var targets []target
	for line := range strings.Lines(list) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		rel, err := filepath.Rel(s.store.Checkout, fields[0])
		if err != nil {
			return nil, err
		}
		for _, file := range fields[2:] {
			names, err := fuzzFunctions(filepath.Join(fields[0], file), nil)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				t := target{dir: "./" + rel, importPath: fields[1], name: name}
				if s.fuzzing.targets.MatchString(t.String()) {
					targets = append(targets, t)
				}
			}
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("no fuzz target matches %s", s.fuzzing.targets)
	}
	return targets, nil
}

// fuzzFunctions returns the names of the fuzz targets in a file, or in src.
func fuzzFunctions(file string, src any) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Fuzz") && len(fn.Type.Params.List) == 1 {
			names = append(names, fn.Name.Name)
		}
	}
	return names, nil
}

// fuzzPrograms builds the instrumented test binary of each package once. Most of
// it is linking, which uses one processor.
func (s *suite) fuzzPrograms(ctx context.Context, dir string, targets []target) (map[string]string, error) {
	programs := map[string]string{}
	var building errgroup.Group
	building.SetLimit(runtime.NumCPU())
	for _, t := range targets {
		if programs[t.dir] != "" {
			continue
		}
		program := filepath.Join(dir, fmt.Sprintf("%d.test", len(programs)))
		programs[t.dir] = program
		building.Go(func() error {
			cmd := s.command(ctx, "go", "test", "-c", "-fuzz", "Fuzz", "-o", program, t.dir)
			// As the suite builds what runs inside an empty root.
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("build the fuzz targets of %s: %w\n%s", t.dir, err, out)
			}
			return nil
		})
	}
	return programs, building.Wait()
}

// fuzzOne runs a target in its package's directory, as `go test -fuzz` does.
func (s *suite) fuzzOne(ctx context.Context, t target, program, scratch string, args ...string) outcome {
	began := time.Now()
	cmd := s.command(ctx, append([]string{program, "-test.run", "^$", "-test.fuzz", "^" + t.name + "$", "-test.timeout", "0"}, args...)...)
	cmd.Dir = filepath.Join(s.store.Checkout, t.dir)
	cmd.Env = append(os.Environ(), "TMPDIR="+scratch)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	o := outcome{target: t, took: time.Since(began)}
	o.read(out.String(), err)
	return o
}

var (
	baseline = regexp.MustCompile(`gathering baseline coverage: (\d+)/`)
	progress = regexp.MustCompile(`fuzz: elapsed: .*, execs: (\d+) .*, new interesting: (\d+) `)
	// overtime is what the engine calls a failure when it could not stop in time
	// on a busy machine; nothing was found.
	overtime = regexp.MustCompile(`^(fuzz: .*\n)*--- FAIL: \w+ \(.*\)\n    context deadline exceeded\nFAIL\n$`)
	crasher  = regexp.MustCompile(`Failing input written to (testdata/\S+)`)
)

// read takes what a target has printed. A target that ran nothing has failed too.
func (o *outcome) read(out string, err error) {
	if all := progress.FindAllStringSubmatch(out, -1); all != nil {
		last := all[len(all)-1]
		o.execs, _ = strconv.Atoi(last[1])
		o.interesting, _ = strconv.Atoi(last[2])
	}
	if all := baseline.FindAllStringSubmatch(out, -1); o.execs == 0 && all != nil {
		o.execs, _ = strconv.Atoi(all[len(all)-1][1])
	}
	switch m := crasher.FindStringSubmatch(out); {
	case m != nil:
		o.finding = "found " + filepath.Join(o.dir, m[1]) + ", which go test -run '^" + o.name + "$' " + o.dir + " runs again\n" + withoutProgress(out)
	case err != nil && !overtime.MatchString(out):
		o.finding = err.Error() + "\n" + withoutProgress(out)
	case o.execs == 0:
		o.finding = "it has executed nothing\n" + out
	}
}

func withoutProgress(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "fuzz: elapsed:") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func printOutcomes(w io.Writer, all []outcome) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "target\ttime\texecs\tnew interesting\tfindings")
	for _, o := range all {
		findings := 0
		if o.finding != "" {
			findings = 1
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\n", o.target, o.took.Round(time.Second), o.execs, o.interesting, findings)
	}
	_ = table.Flush()
}
