package clientsuite

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

func TestMain(m *testing.M) {
	EnterCell()
	os.Exit(m.Run())
}

// E2E_BIN has the shim and the runner. CLIENT_SUITE is "full" for every test
// and runc beside; CLIENT_SUITE_RUN is a pattern as of `go test -run`;
// CLIENT_SUITE_TABLE names a file for the comparison.
func TestClientSuite(t *testing.T) {
	bin := os.Getenv("E2E_BIN")
	if bin == "" {
		t.Fatal("E2E_BIN is not set: `make client-suite` runs this test")
	}
	store, err := provision.Open(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	exceptions, err := ReadExceptions("exceptions.txt")
	if err != nil {
		t.Fatal(err)
	}
	suite := &Suite{Store: store, Bin: bin, Quick: os.Getenv("CLIENT_SUITE") != "full", Run: os.Getenv("CLIENT_SUITE_RUN")}
	variants := Variants
	if suite.Quick {
		variants = variants[1:]
	}
	// An interrupted run removes what is its own.
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// All at once: most of the time, a test waits.
	type outcome struct {
		Report
		err error
	}
	running := map[string]chan outcome{}
	for _, v := range variants {
		c := make(chan outcome, 1)
		running[v.Name] = c
		go func() {
			report, err := suite.Report(ctx, v, exceptions.Hanging(v))
			c <- outcome{report, err}
		}()
	}
	results := map[string][]Result{}
	for _, v := range variants {
		t.Run(v.Name, func(t *testing.T) {
			o := <-running[v.Name]
			results[v.Name] = o.Results
			for _, r := range o.Results {
				if _, listed := exceptions.find(v, r.Test); listed && exceptions.Judge(v, r) == "" {
					continue
				}
				t.Run(r.Test, func(t *testing.T) {
					if wrong := exceptions.Judge(v, r); wrong != "" {
						t.Error(wrong)
					}
				})
			}
			t.Run("end", func(t *testing.T) {
				if o.err != nil {
					t.Error(o.err)
				}
				for _, thing := range o.Left {
					if !exceptions.explains(v, thing) {
						t.Errorf("left when the daemon had ended: %s", thing)
					}
				}
				if !suite.Quick && suite.Run == "" {
					for _, test := range exceptions.missing(v, o.Results) {
						t.Errorf("exceptions.txt lists %s, which the suite does not have", test)
					}
				}
			})
		})
	}
	if file := os.Getenv("CLIENT_SUITE_TABLE"); file != "" {
		if err := os.WriteFile(file, []byte(Table(results)), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func TestReadCountsLeaves(t *testing.T) {
	events := `
		{"Action":"output","Output":"begin\n"}
		{"Action":"run","Test":"TestA"}
		{"Action":"run","Test":"TestA/one"}
		{"Action":"output","Test":"TestA/one","Output":"level=debug noise\n"}
		{"Action":"output","Test":"TestA/one","Output":"why\n"}
		{"Action":"run","Test":"TestA/two"}
		{"Action":"fail","Test":"TestA/one","Elapsed":1}
		{"Action":"pass","Test":"TestA/two"}
		{"Action":"fail","Test":"TestA"}
		{"Action":"run","Test":"TestB"}
		{"Action":"run","Test":"TestB/one"}
		{"Action":"pass","Test":"TestB/one"}
		{"Action":"fail","Test":"TestB"}
		{"Action":"run","Test":"TestC"}
		{"Action":"output","Test":"TestC","Output":"stuck\n"}`
	results, rest, err := read(bufio.NewReader(strings.NewReader(events)))
	if err != nil {
		t.Fatal(err)
	}
	want := "[{TestA/one fail why\n 1} {TestA/two pass  0} {TestB/one pass  0} {TestB fail  0}]"
	if got := fmt.Sprint(results); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if want := "begin\nTestC did not end\nstuck\n"; rest != want {
		t.Errorf("outside: got %q, want %q", rest, want)
	}
}

func TestJudgeWantsTheListedOutcome(t *testing.T) {
	v := Variants[2]
	all := Exceptions{
		{Variants: []string{"wasm"}, Outcome: Failed, Test: "TestFails"},
		{Variants: []string{"runc", "wasm"}, Outcome: races, Test: "TestRaces"},
		{Variants: []string{"runc"}, Outcome: Failed, Test: "TestOther"},
	}
	for _, tt := range []struct {
		test, outcome string
		right         bool
	}{
		{"TestFails", Failed, true},
		{"TestFails", Passed, false},
		{"TestFails", Skipped, false},
		{"TestRaces", Failed, true},
		{"TestRaces", Passed, true},
		{"TestOther", Passed, true},
		{"TestOther", Failed, false},
		{"TestOther", Skipped, false},
	} {
		if wrong := all.Judge(v, Result{Test: tt.test, Outcome: tt.outcome}); (wrong == "") != tt.right {
			t.Errorf("%s %s: %q", tt.test, tt.outcome, wrong)
		}
	}
}
