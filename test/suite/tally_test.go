package main

import (
	"io"
	"strings"
	"testing"
)

func TestTallyCountsLeaves(t *testing.T) {
	for _, tt := range []struct {
		name, events, want string
	}{
		{"subtests count, their parent does not", `
			{"Action":"run","Package":"p/q","Test":"TestA"}
			{"Action":"run","Package":"p/q","Test":"TestA/2.4"}
			{"Action":"run","Package":"p/q","Test":"TestA/1.6"}
			{"Action":"pass","Package":"p/q","Test":"TestA/2.4"}
			{"Action":"fail","Package":"p/q","Test":"TestA/1.6"}
			{"Action":"fail","Package":"p/q","Test":"TestA"}
			{"Action":"fail","Package":"p/q"}`, "1 passed, 1 failed, 0 skipped"},
		{"a listed skip is one, another is a failure", `
			{"Action":"run","Package":"p/q","Test":"TestListed"}
			{"Action":"run","Package":"p/q","Test":"TestOther"}
			{"Action":"skip","Package":"p/q","Test":"TestListed"}
			{"Action":"skip","Package":"p/q","Test":"TestOther"}
			{"Action":"pass","Package":"p/q"}`, "0 passed, 1 failed, 1 skipped"},
		{"a package that does not build is one failure", `
			{"ImportPath":"p/q [p/q.test]","Action":"build-output","Output":"syntax error\n"}
			{"ImportPath":"p/q [p/q.test]","Action":"build-fail"}
			{"Action":"fail","Package":"p/q","FailedBuild":"p/q [p/q.test]"}`, "0 passed, 1 failed, 0 skipped"},
		{"a package that dies is one failure", `
			{"Action":"run","Package":"p/q","Test":"TestA"}
			{"Action":"output","Package":"p/q","Output":"panic: test timed out\n"}
			{"Action":"fail","Package":"p/q"}`, "0 passed, 1 failed, 0 skipped"},
		{"a package without tests counts nothing", `
			{"Action":"skip","Package":"p/q"}`, "0 passed, 0 failed, 0 skipped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tally := newTally(map[string]string{"p/q.TestListed": "reason"}, io.Discard)
			if err := tally.read(strings.NewReader(strings.ReplaceAll(tt.events, "\t", "") + "\n")); err != nil {
				t.Fatal(err)
			}
			if got := tally.summary(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTallyTellsTheSlowestTests(t *testing.T) {
	tally := newTally(nil, io.Discard)
	events := `
		{"Action":"run","Package":"p","Test":"TestA"}
		{"Action":"run","Package":"p","Test":"TestA/2.4"}
		{"Action":"pass","Package":"p","Test":"TestA/2.4","Elapsed":2}
		{"Action":"pass","Package":"p","Test":"TestA","Elapsed":9}
		{"Action":"run","Package":"p","Test":"TestB"}
		{"Action":"fail","Package":"p","Test":"TestB","Elapsed":30}
		{"Action":"run","Package":"p","Test":"TestC"}
		{"Action":"pass","Package":"p","Test":"TestC","Elapsed":1}
`
	if err := tally.read(strings.NewReader(strings.ReplaceAll(events, "\t", ""))); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(tally.slowest(2), "\n"), "  30.0 s  p.TestB\n   2.0 s  p.TestA/2.4"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := tally.slowest(10); len(got) != 3 {
		t.Errorf("of three tests %q", got)
	}
}

func TestTallyTellsHowFailuresBegin(t *testing.T) {
	tally := newTally(nil, io.Discard)
	tally.fail("p.TestA", "=== RUN   TestA\n    a_test.go:1: the cause\n"+strings.Repeat("a dump\n", 100)+"--- FAIL: TestA (1.00s)\n")
	tally.fail("lint/vet", strings.Repeat("x", 1000))
	got := tally.beginnings()
	if len(got) != 10 || got[0] != "FAIL  p.TestA" || got[1] != "    a_test.go:1: the cause" || got[8] != "FAIL  lint/vet" || len(got[9]) != 400 {
		t.Errorf("got %q", got)
	}
}
