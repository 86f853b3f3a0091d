package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/shapes"
)

// shapesTable is the table of docs/images.md: what the tests above prove.
func shapesTable() string {
	var b strings.Builder
	b.WriteString("| shape | `ctr` " + strings.Join(shapes.Versions, " | ") + " | CRI " + strings.Join(shapes.Versions, " | ") + " |\n")
	b.WriteString("| --- |" + strings.Repeat(" --- |", 2*len(shapes.Versions)) + "\n")
	var notes []string // keys of refusals, in the order of their letters
	for _, s := range shapes.All {
		b.WriteString("| " + s.Title + " |")
		for _, outcome := range append(s.Ctr[:], s.CRI[:]...) {
			if outcome == shapes.Runs {
				b.WriteString(" runs |")
				continue
			}
			n := slices.Index(notes, outcome)
			if n < 0 {
				n = len(notes)
				notes = append(notes, outcome)
			}
			fmt.Fprintf(&b, " %c |", 'a'+n)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| | fails at | with | way out |\n| --- | --- | --- | --- |\n")
	for n, key := range notes {
		r := shapes.Refusals[key]
		fmt.Fprintf(&b, "| %c | %s | `%s` | %s |\n", 'a'+n, r.At, r.Says, r.Cure)
	}
	return b.String()
}

func TestDocsTableIsWhatTheTestsProve(t *testing.T) {
	b, err := os.ReadFile("../../docs/images.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := shapesTable(); !strings.Contains(string(b), "\n"+want+"\n") {
		t.Errorf("docs/images.md lacks this table:\n%s", want)
	}
	for key := range shapes.Refusals {
		if !slices.ContainsFunc(shapes.All, func(s shapes.Shape) bool {
			return slices.Contains(s.Ctr[:], key) || slices.Contains(s.CRI[:], key)
		}) {
			t.Errorf("no shape is refused by %q", key)
		}
	}
}
