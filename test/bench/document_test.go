package main

import (
	"fmt"
	"io"
	"testing"
)

func TestFillReplacesWhatIsBetweenItsLines(t *testing.T) {
	section := func(name string, to io.Writer) error {
		switch name {
		case "machine":
			_, err := fmt.Fprintln(to, "new")
			return err
		case "run":
			return nil // not measured
		}
		return fmt.Errorf("no %s", name)
	}
	text := "# T\n\n<!-- bench: machine -->\nold\n\n<!-- end -->\n\ntext\n\n<!-- bench: run -->\nkept\n<!-- end -->\nend\n"
	want := "# T\n\n<!-- bench: machine -->\nnew\n\n<!-- end -->\n\ntext\n\n<!-- bench: run -->\nkept\n<!-- end -->\nend\n"
	for range 2 { // the second time from its own output
		got, err := fill(text, section)
		if err != nil || got != want {
			t.Fatalf("%v:\n%s", err, got)
		}
		text = got
	}
	for _, broken := range []string{"<!-- bench: machine -->\nold\n", "<!-- bench: other -->\n<!-- end -->"} {
		if _, err := fill(broken, section); err == nil {
			t.Errorf("%q is filled", broken)
		}
	}
}
