package task

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// logged finds the field of a line of the log.
var logged = regexp.MustCompile(`level=debug msg=(created|deleted) id=(\S+) .*timeline=("(?:[^"\\]|\\.)*")`)

func TestAtDebugLevelTheLogTellsWhereTheTimeWent(t *testing.T) {
	var d *daemon
	t.Run("two containers", func(t *testing.T) {
		d = newDaemon(t)
		for _, id := range []string{"pod", "b"} {
			d.bundle(id, spin(), nil)
		}
		s := d.start("pod")
		s.mustCreate("pod")
		s.mustCreate("b")
		s.mustStart("b")
		s.finish("b", 137)
	})
	if d == nil {
		t.Skip("there is no daemon")
	}
	// Those of the first process only the first container has.
	first := []string{"start: begins", "start: spawns the server", "server: begins"}
	each := []string{
		"shim: is asked to create", "shim: has read the spec", "shim: has mounted the root file system", "shim: has found the module",
		"shim: has made the cgroup", "shim: has the compiled code", "shim: has spawned the init",
		"init: begins", "init: has its configuration", "init: has built the sandbox", "init: becomes the runner",
		"runner: begins", "runner: has loaded the module", "runner: is confined and ready", "shim: has created the container",
	}
	want := map[string][]string{
		"created pod": append(first, each...),
		"created b":   each,
		"deleted b": {
			"shim: is asked to start", "shim: has let the guest go", "shim: has seen the guest's end",
			"shim: is asked to delete", "shim: has deleted the container",
		},
	}
	lines := logged.FindAllStringSubmatch(d.log.String(), -1)
	if len(lines) != len(want) {
		t.Fatalf("%d lines with a timeline, want %d:\n%s", len(lines), len(want), &d.log)
	}
	for _, line := range lines {
		what := line[1] + " " + line[2]
		text, err := strconv.Unquote(line[3])
		if err != nil {
			t.Fatal(err)
		}
		var marks []struct {
			Name string
			At   int64
		}
		if err := json.Unmarshal([]byte(text), &marks); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range marks {
			names = append(names, m.Name)
		}
		if !slices.Equal(names, want[what]) {
			t.Errorf("%s: %q, want %q", what, names, want[what])
		}
		if marks[0].At >= marks[len(marks)-1].At {
			t.Errorf("%s: it ends before it begins: %v", what, marks)
		}
	}
}
