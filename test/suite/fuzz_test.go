package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

func TestFuzzFunctionsAreThoseOfTheTestingPackage(t *testing.T) {
	got, err := fuzzFunctions("x_test.go", `package x
func FuzzOne(f *testing.F) {}
func (x) FuzzMethod(f *testing.F) {}
func FuzzHelper() {}
func fuzzTwo(f *testing.F) {}
// func FuzzComment(f *testing.F) {}
func FuzzThree(f *testing.F) { _ = "func FuzzText(f *testing.F) {" }
`)
	if want := []string{"FuzzOne", "FuzzThree"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// A target in a file that the phase does not see would never be run.
func TestEveryFuzzTargetIsFound(t *testing.T) {
	store, err := provision.Open(os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{store: store, fuzzing: fuzzing{targets: regexp.MustCompile("")}}
	targets, err := s.fuzzTargets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, target := range targets {
		known[target.String()] = true
	}
	declaration := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)
	err = filepath.WalkDir(store.Checkout, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// This file has declarations in its text.
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || path == filepath.Join(store.Checkout, "test/suite")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(store.Checkout, filepath.Dir(path))
		for _, m := range declaration.FindAllStringSubmatch(string(b), -1) {
			if name := rel + "." + m[1]; !known[name] {
				t.Errorf("%s is not run", name)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOutcomesOfFuzzing(t *testing.T) {
	const lines = "fuzz: elapsed: 0s, gathering baseline coverage: 0/8 completed\n" +
		"fuzz: elapsed: 3s, execs: 12084 (4027/sec), new interesting: 33 (total: 41)\n" +
		"fuzz: elapsed: 4s, execs: 23985 (3968/sec), new interesting: 71 (total: 79)\n"
	for name, test := range map[string]struct {
		out     string
		err     error
		finding string // its beginning
	}{
		"nothing found": {lines + "PASS\n", nil, ""},
		"a crasher": {lines + "--- FAIL: FuzzX (1s)\n    Failing input written to testdata/fuzz/FuzzX/0123\n    To re-run:\n", errors.New("exit status 1"),
			"found runner/testdata/fuzz/FuzzX/0123, which go test"},
		"a seed that fails":                  {lines + "--- FAIL: FuzzX\n", errors.New("exit status 1"), "exit status 1\n--- FAIL: FuzzX"},
		"an end that came late":              {lines + "--- FAIL: FuzzX (41.17s)\n    context deadline exceeded\nFAIL\n", errors.New("exit status 1"), ""},
		"a crash, and an end that came late": {lines + "--- FAIL: FuzzX (41.17s)\n    panic: x\n    context deadline exceeded\nFAIL\n", errors.New("exit status 1"), "exit status 1"},
		"no more than the seeds":             {"fuzz: elapsed: 0s, gathering baseline coverage: 0/8 completed\nfuzz: elapsed: 3s, gathering baseline coverage: 7/8 completed\nPASS\n", nil, ""},
		"a target that is no":                {"testing: warning: no tests to run\nPASS\n", nil, "it has executed nothing"},
	} {
		o := outcome{target: target{dir: "./runner", name: "FuzzX"}}
		o.read(test.out, test.err)
		if (o.finding == "") != (test.finding == "") || !strings.HasPrefix(o.finding, test.finding) {
			t.Errorf("%s: %q", name, o.finding)
		}
		if strings.Contains(test.out, "execs") && (o.execs != 23985 || o.interesting != 71) {
			t.Errorf("%s: %d execs, %d interesting", name, o.execs, o.interesting)
		}
	}
}
