package vm

import (
	"io"
	"strings"
	"testing"
)

func TestOutputIsThatOfItsProgram(t *testing.T) {
	m := Machine{Programs: []Program{{Package: "p/one"}, {Package: "p/two"}}}
	const first = "boot\n\n==> begin p/one\nPASS\n\n==> end p/one 0\n"
	for _, test := range []struct {
		name, port string
		status     string // of p/two
		broken     bool
	}{
		{"all end well", first + "==> begin p/two\nPASS\n==> end p/two 0\n==> all\n", "", false},
		{"one fails", first + "==> begin p/two\nFAIL\n==> end p/two 1\n==> all\n", "1", false},
		{"the machine ends in between", first + "==> begin p/two\nPAS", "", true},
		{"a program is missing", first + "==> all\n", "", true},
		{"the machine never starts", "", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			outputs := map[string]string{}
			failed, err := m.read(strings.NewReader(test.port), func(p Program, r io.Reader) error {
				b, err := io.ReadAll(r)
				outputs[p.Package] = string(b)
				if test.broken {
					return nil // the tally goes on with what there was
				}
				return err
			})
			if (err != nil) != test.broken {
				t.Errorf("got error %v", err)
			}
			if failed == nil && test.status != "" || failed != nil && (failed.Package != "p/two" || failed.Status != test.status) {
				t.Errorf("failed: %v", failed)
			}
			if out := outputs["p/one"]; test.port != "" && out != "PASS\n\n" {
				t.Errorf("output of p/one: %q", out)
			}
		})
	}
}
