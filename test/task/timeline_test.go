package task

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// logged finds the field of a line of the log.
var logged = regexp.MustCompile(`level=debug msg=created id=(\S+) .*timeline=("(?:[^"\\]|\\.)*")`)

func TestAtDebugLevelCreateTellsWhereItsTimeWent(t *testing.T) {
	var d *daemon
	t.Run("two containers", func(t *testing.T) {
		d = newDaemon(t)
		for _, id := range []string{"pod", "b"} {
			d.bundle(id, spin(), nil)
		}
		s := d.start("pod")
		s.mustCreate("pod")
		s.mustCreate("b")
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
	want := map[string][]string{"pod": append(first, each...), "b": each}
	lines := logged.FindAllStringSubmatch(d.log.String(), -1)
	if len(lines) != len(want) {
		t.Fatalf("%d lines with a timeline, want %d:\n%s", len(lines), len(want), &d.log)
	}
	for _, line := range lines {
		text, err := strconv.Unquote(line[2])
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
		if !slices.Equal(names, want[line[1]]) {
			t.Errorf("%s: %q, want %q", line[1], names, want[line[1]])
		}
		if marks[0].At >= marks[len(marks)-1].At {
			t.Errorf("%s: it ends before it begins: %v", line[1], marks)
		}
	}
}
