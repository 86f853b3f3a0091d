package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// shapesTable is the table of docs/images.md: what the tests above prove.
func shapesTable() string {
	var b strings.Builder
	b.WriteString("| shape | `ctr` " + strings.Join(versionColumns, " | ") + " | CRI " + strings.Join(versionColumns, " | ") + " |\n")
	b.WriteString("| --- |" + strings.Repeat(" --- |", 2*len(versionColumns)) + "\n")
	var notes []string // keys of refusals, in the order of their letters
	for _, s := range shapes {
		b.WriteString("| " + s.title + " |")
		for _, outcome := range append(s.ctr[:], s.cri[:]...) {
			if outcome == runs {
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
		r := refusals[key]
		fmt.Fprintf(&b, "| %c | %s | `%s` | %s |\n", 'a'+n, r.at, r.says, r.cure)
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
	for key := range refusals {
		if !slices.ContainsFunc(shapes, func(s shape) bool {
			return slices.Contains(s.ctr[:], key) || slices.Contains(s.cri[:], key)
		}) {
			t.Errorf("no shape is refused by %q", key)
		}
	}
}
