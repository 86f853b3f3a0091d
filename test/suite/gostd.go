package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// standardLibrary are the packages of Go whose own tests, compiled for WASI, are
// those of the runtime too.
var standardLibrary = []string{
	"archive/tar", "bufio", "compress/gzip", "encoding/json", "io", "io/fs", "net", "net/http",
	"os", "path/filepath", "strings", "sync", "time",
}

// standardSkips lists for which reasons Go skips tests on this platform.
const standardSkips = "test/gostd-skips.txt"

// standardTests runs Go's tests of its standard library as guests, a package on
// each processor. Each package counts as one test. GOSTD_FULL=1 runs the long tests, too.
func (s *suite) standardTests(ctx context.Context) error {
	reasons, err := readReasons(filepath.Join(s.store.Checkout, standardSkips))
	if err != nil {
		return err
	}
	root, err := s.output(ctx, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	// As Go's own script for other runtimes: the guest sees the machine's files,
	// and begins where the test's are.
	run := filepath.Join(s.bin, "wasmctl") + " run --env PWD --env PATH --dir /::/"
	args := []string{"go", "test", "-json", "-timeout", "20m", "-exec", run}
	if os.Getenv("GOSTD_FULL") == "" {
		args = append(args, "-short")
	}
	excused := func(output string) bool {
		return slices.ContainsFunc(reasons, func(r *regexp.Regexp) bool { return r.MatchString(saidBySkip(output)) })
	}
	tallies := make([]*tally, len(standardLibrary))
	var running errgroup.Group
	running.SetLimit(runtime.NumCPU())
	for i, pkg := range standardLibrary {
		tallies[i] = newTally(nil, io.Discard)
		tallies[i].excused = excused
		running.Go(func() error {
			return s.goTestIn(ctx, filepath.Join(strings.TrimSpace(root), "src"), append(slices.Clone(args), pkg), []string{"GOOS=wasip1", "GOARCH=wasm"}, tallies[i])
		})
	}
	err = running.Wait()
	for i, pkg := range standardLibrary {
		if t := tallies[i]; t.failed > 0 {
			s.tally.fail("gostd/"+pkg, strings.Join(t.problems, "\n"))
		} else if err == nil {
			s.tally.pass(fmt.Sprintf("gostd/%s (%s)", pkg, t.summary()))
		}
	}
	return err
}

// readReasons reads lines "EXPRESSION | cause".
func readReasons(path string) (reasons []*regexp.Regexp, _ error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndex(line, " | ")
		if i < 0 {
			return nil, fmt.Errorf("%s: %q has no cause", path, line)
		}
		r, err := regexp.Compile(line[:i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		reasons = append(reasons, r)
	}
	return reasons, nil
}

// saidBySkip returns what a skipped test printed last, without the file and
// line before it.
func saidBySkip(output string) string {
	said := ""
	for line := range strings.Lines(output) {
		if _, rest, ok := strings.Cut(strings.TrimSpace(line), ".go:"); ok {
			_, said, _ = strings.Cut(rest, ": ")
		}
	}
	return said
}
