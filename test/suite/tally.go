package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// tally counts tests. A test with subtests counts by these.
type tally struct {
	passed, failed, skipped int

	allowed map[string]string // reasons of tests that may skip, by full name
	// excused tells by its output that a test may skip; nil for none.
	excused  func(output string) bool
	progress io.Writer
	problems []string
	// took are the times of tests without subtests, in seconds.
	took []took
}

// took is how long one test took.
type took struct {
	name    string
	seconds float64
}

func newTally(allowed map[string]string, progress io.Writer) *tally {
	return &tally{allowed: allowed, progress: progress}
}

func (t *tally) pass(name string) {
	t.passed++
	fmt.Fprintf(t.progress, "ok    %s\n", name)
}

func (t *tally) fail(name, output string) {
	t.failed++
	fmt.Fprintf(t.progress, "FAIL  %s\n", name)
	t.problems = append(t.problems, fmt.Sprintf("FAIL  %s\n%s", name, strings.TrimRight(output, "\n")))
}

// skip counts a skipped test: as a failure unless the list of allowed ones has it.
func (t *tally) skip(name, output string) {
	if _, ok := t.allowed[name]; !ok && (t.excused == nil || !t.excused(output)) {
		t.fail(name, "skipped, but the list of allowed skips has it not:\n"+output)
		return
	}
	t.skipped++
	fmt.Fprintf(t.progress, "skip  %s\n", name)
}

// event is a line of `go test -json`, see `go doc test2json`.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// progressPrefix begins the lines by which a package tells how far it is, and what
// it has measured.
const progressPrefix = "cluster: "

// read tallies the output of `go test -json`.
func (t *tally) read(r io.Reader) error {
	outputs := map[string]*strings.Builder{} // by package and test
	parents := map[string]bool{}             // tests with subtests
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			fmt.Fprintf(t.progress, "%s", line)
			continue
		}
		name := strings.TrimSuffix(e.Package+"."+e.Test, ".")
		if e.ImportPath != "" && e.Package == "" {
			name = e.ImportPath // output of a failed build
		}
		switch e.Action {
		case "run":
			if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
				parents[e.Package+"."+e.Test[:i]] = true
			}
		case "output", "build-output":
			if strings.HasPrefix(e.Output, progressPrefix) {
				fmt.Fprint(t.progress, e.Output)
			}
			if outputs[name] == nil {
				outputs[name] = &strings.Builder{}
			}
			outputs[name].WriteString(e.Output)
		case "pass", "fail", "skip", "build-fail":
			t.end(e, name, outputs, parents)
		}
	}
}

// end counts the end of a test or a package.
func (t *tally) end(e event, name string, outputs map[string]*strings.Builder, parents map[string]bool) {
	var output string
	if b := outputs[name]; b != nil {
		output = b.String()
	}
	switch {
	case e.Action == "build-fail":
		t.fail(name, output)
	case e.Test == "" && e.Action == "fail":
		// Its failed tests are counted; one that has none died as a whole.
		if !t.hasProblem(e.Package+".", e.Package+" ", e.Package+"\n") {
			t.fail(name, output)
		}
	case e.Test == "": // a package: no test
	case parents[name] && e.Action == "fail":
		// Its subtests are counted, unless the fault is its own.
		if !t.hasProblem(name + "/") {
			t.fail(name, output)
		}
	case parents[name]:
	case e.Action == "pass":
		t.passed++
		t.took = append(t.took, took{name, e.Elapsed})
		fmt.Fprintf(t.progress, "ok    %s (%.1f s)\n", name, e.Elapsed)
	case e.Action == "fail":
		t.took = append(t.took, took{name, e.Elapsed})
		t.fail(name, output)
	case e.Action == "skip":
		t.skip(name, output)
	}
	delete(outputs, name)
}

// hasProblem says whether one of the failures so far has a name that begins
// with one of the prefixes.
func (t *tally) hasProblem(prefixes ...string) bool {
	return slices.ContainsFunc(t.problems, func(problem string) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool {
			return strings.HasPrefix(problem, "FAIL  "+prefix)
		})
	})
}

// report prints what failed, with its output.
func (t *tally) report() {
	for _, p := range t.problems {
		fmt.Fprintf(t.progress, "%s\n\n", p)
	}
}

// beginnings returns how each failure begins, which is its cause more often than its end
// is: a log that is cut keeps the end.
func (t *tally) beginnings() (lines []string) {
	const most, width = 8, 400
	for _, p := range t.problems {
		n := 0
		for line := range strings.Lines(p) {
			line = strings.TrimRight(line, "\n")
			if line == "" || strings.HasPrefix(line, "=== ") {
				continue
			}
			if n++; n > most {
				break
			}
			lines = append(lines, line[:min(len(line), width)])
		}
	}
	return lines
}

// slowest are the n tests that took longest, a line each. Where tests run side by
// side, a time holds what they took from each other.
func (t *tally) slowest(n int) (lines []string) {
	slices.SortStableFunc(t.took, func(a, b took) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, test := range t.took[:min(n, len(t.took))] {
		lines = append(lines, fmt.Sprintf("%6.1f s  %s", test.seconds, test.name))
	}
	return lines
}

func (t *tally) summary() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

// readSkips reads lines "PACKAGE.TEST reason"; # begins a comment.
func readSkips(path string) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	allowed := map[string]string{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, " ")
		if !ok || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s: %q has no reason", path, line)
		}
		allowed[name] = strings.TrimSpace(reason)
	}
	return allowed, nil
}
