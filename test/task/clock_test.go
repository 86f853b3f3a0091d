//go:build machine

package task

import (
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The clock of a whole machine is set, so that this is compiled for the virtual
// one alone. Whoever counted time by that clock would wait for a day, or not at
// all.
func TestAClockThatJumpsChangesNoTimeLimit(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward": 24 * time.Hour, "back": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			d.bundle("a", spin(), func(s *specs.Spec) {
				s.Annotations = map[string]string{"io.containerd.wasm.v1/drain": "2s"}
			})
			s := d.start("a")
			// While the module is compiled within its time, and while the guest has
			// its time for a drain.
			back := jump(t, by)
			s.mustCreate("a")
			back()
			s.mustStart("a")
			began := time.Now()
			if err := s.kill("a", unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			back = jump(t, by)
			status := s.wait("a")
			back()
			if status != 143 {
				t.Errorf("exit status %d, want 143", status)
			}
			if took := time.Since(began); took < 2*time.Second {
				t.Errorf("the guest had %v of the 2 s that it may take", took)
			}
			if _, err := s.delete("a"); err != nil {
				t.Error(err)
			}
			s.end()
			d.assertNothingLeft()
		})
	}
}

// jump sets the clock, and returns what sets it back.
func jump(t *testing.T, by time.Duration) (back func()) {
	t.Helper()
	began := time.Now() // has the monotonic clock, too
	set := func(at time.Time) {
		ts := unix.NsecToTimespec(at.UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
			t.Fatal(err)
		}
	}
	set(began.Add(by))
	return func() { set(began.Add(time.Since(began))) }
}
