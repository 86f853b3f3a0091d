package descriptor

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

// A guest that polls a million times a second comes there within hours.
func TestPollsAreCountedBeyond32Bits(t *testing.T) {
	table := NewTable(10, 1)
	defer table.CloseAll()
	clock := NewClock()
	p := NewPoller(&clock)
	p.number = math.MaxUint32
	d, _, e := table.OpenSocket(unix.AF_INET, unix.SOCK_DGRAM)
	if e != 0 {
		t.Fatal(e)
	}
	p.Reset()
	if ready, _ := p.Ready(d, true); ready {
		t.Error("a descriptor that was never polled is part of the poll")
	}
	p.Add(d, true)
	if e := p.Wait(0); e != 0 {
		t.Fatal(e)
	}
	if ready, _ := p.Ready(d, true); !ready {
		t.Error("an idle socket cannot be written to")
	}
}
