package debugnames

import (
	"slices"
	"strings"
	"testing"
)

func TestNamesAreSortedForTheSearch(t *testing.T) {
	if !slices.IsSorted(Names()) {
		t.Fatal("not sorted")
	}
	for _, name := range Names() {
		if !Has(name) {
			t.Errorf("Has(%q) is false", name)
		}
	}
	for _, name := range []string{"", "sh", "/bin/ls", "ls ", "LS"} {
		if Has(name) {
			t.Errorf("Has(%q) is true", name)
		}
	}
}

func TestRefusalNamesTheProgramAndTheWayOut(t *testing.T) {
	const rest = ": native programs cannot be executed in a Wasm container; commands that can: cat, date, "
	for name, want := range map[string]string{
		"sh":                     "sh" + rest,
		"/bin/bash":              "/bin/bash" + rest,
		"":                       `""` + rest,
		"a\x1b[2J\nb":            `"a\x1b[2J\nb"` + rest,
		strings.Repeat("x", 500): strings.Repeat("x", 120) + "…" + rest,
		"tar":                    "tar: native programs cannot be executed in a Wasm container, and so kubectl cp, which needs tar, cannot work; commands",
	} {
		if got := Refusal(name); !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
			t.Errorf("Refusal(%.20q) = %q, want %q…", name, got, want)
		}
	}
}
