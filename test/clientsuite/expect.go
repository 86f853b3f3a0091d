package clientsuite

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Outcomes that only an exception has.
const (
	// hangs is a test that is not run because it would wait for ever.
	hangs = "hang"
	// races is a test whose outcome is left to chance by a fault that is not
	// the runtime's.
	races = "race"
)

// Exception is a test that does not pass, and is known not to.
type Exception struct {
	Variants []string
	Outcome  string
	Test     string
	Reason   string
}

// Exceptions are a run's exceptions.
type Exceptions []Exception

// ReadExceptions reads lines "VARIANTS OUTCOME TEST REASON"; # begins a
// comment. VARIANTS are names with commas between them; OUTCOME is fail, skip,
// hang (the test is not run) or race (any outcome will do).
func ReadExceptions(path string) (Exceptions, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all Exceptions
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 4 {
			return nil, fmt.Errorf("%s: %q is not VARIANTS OUTCOME TEST REASON", path, line)
		}
		e := Exception{Variants: strings.Split(f[0], ","), Outcome: f[1], Test: f[2], Reason: strings.Join(f[3:], " ")}
		for _, name := range e.Variants {
			if !slices.ContainsFunc(Variants, func(v Variant) bool { return v.Name == name }) {
				return nil, fmt.Errorf("%s: %q names no variant", path, line)
			}
		}
		if !slices.Contains([]string{Failed, Skipped, hangs, races}, e.Outcome) {
			return nil, fmt.Errorf("%s: %q has no outcome", path, line)
		}
		all = append(all, e)
	}
	return all, nil
}

// Hanging are the tests that must not be run.
func (all Exceptions) Hanging(v Variant) []string {
	var tests []string
	for _, e := range all {
		if e.Outcome == hangs && slices.Contains(e.Variants, v.Name) {
			tests = append(tests, e.Test)
		}
	}
	return tests
}

// missing returns the tests that are to be run and have no result.
func (all Exceptions) missing(v Variant, results []Result) []string {
	var tests []string
	for _, e := range all {
		if e.Outcome != hangs && slices.Contains(e.Variants, v.Name) &&
			!slices.ContainsFunc(results, func(r Result) bool { return r.Test == e.Test }) {
			tests = append(tests, e.Test)
		}
	}
	return tests
}

// explains says whether something that was left is of a container whose test is
// listed as failing: such a test ends before it deletes its container. The
// suite's containers are named after their tests.
func (all Exceptions) explains(v Variant, left string) bool {
	return slices.ContainsFunc(all, func(e Exception) bool {
		test, _, _ := strings.Cut(e.Test, "/")
		return e.Outcome == Failed && slices.Contains(e.Variants, v.Name) && strings.Contains(left, test)
	})
}

// find returns the exception for a test.
func (all Exceptions) find(v Variant, test string) (Exception, bool) {
	i := slices.IndexFunc(all, func(e Exception) bool { return e.Test == test && slices.Contains(e.Variants, v.Name) })
	if i < 0 {
		return Exception{}, false
	}
	return all[i], true
}

// Judge returns what is wrong with a result, or "" when it passed or is as an
// exception says.
func (all Exceptions) Judge(v Variant, r Result) string {
	e, listed := all.find(v, r.Test)
	switch {
	case listed && (e.Outcome == races || e.Outcome == r.Outcome):
		return ""
	case listed:
		return fmt.Sprintf("%s, but exceptions.txt says: %s (%s)\n%s", r.Outcome, e.Outcome, e.Reason, r.Output)
	case r.Outcome == Passed:
		return ""
	}
	return fmt.Sprintf("%s, and exceptions.txt does not list it\n%s", r.Outcome, r.Output)
}

// Table compares the variants: a line for each test that does not pass
// everywhere, and the sums.
func Table(results map[string][]Result) string {
	var columns []string
	for _, v := range Variants {
		if results[v.Name] != nil {
			columns = append(columns, v.Name)
		}
	}
	outcomes := map[string]map[string]string{} // by test and variant
	sums := map[string]map[string]int{}        // by outcome and variant
	for _, outcome := range []string{Passed, Failed, Skipped} {
		sums[outcome] = map[string]int{}
	}
	for name, list := range results {
		for _, r := range list {
			if outcomes[r.Test] == nil {
				outcomes[r.Test] = map[string]string{}
			}
			outcomes[r.Test][name] = r.Outcome
			sums[r.Outcome][name]++
		}
	}
	var b strings.Builder
	row := func(title string, cell func(column string) any) {
		fmt.Fprintf(&b, "%-64s", title)
		for _, c := range columns {
			fmt.Fprintf(&b, " %8v", cell(c))
		}
		b.WriteByte('\n')
	}
	row("containerd's client suite", func(c string) any { return c })
	var tests []string
	for test := range outcomes {
		tests = append(tests, test)
	}
	slices.Sort(tests)
	for _, test := range tests {
		everywhere := true
		for _, c := range columns {
			everywhere = everywhere && outcomes[test][c] == Passed
		}
		if everywhere {
			continue
		}
		row(test, func(c string) any {
			if outcome, ok := outcomes[test][c]; ok {
				return outcome
			}
			return "not run"
		})
	}
	for _, outcome := range []string{Passed, Failed, Skipped} {
		row(outcome, func(c string) any { return sums[outcome][c] })
	}
	return b.String()
}
