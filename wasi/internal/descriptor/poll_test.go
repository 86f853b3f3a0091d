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

// Who has received something, or tried to send, gets the next answer at once.
func TestTrafficMakesWriteReadinessNewsAgain(t *testing.T) {
	table := NewTable(10, 1)
	defer table.CloseAll()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*Descriptor
	for i, fd := range pair {
		var e unix.Errno
		if ends[i], _, e = table.Add(fd, unix.O_NONBLOCK); e != 0 {
			t.Fatal(e)
		}
	}
	b := make([]byte, 8)
	v := []unix.Iovec{{Base: &b[0], Len: 4}, {Base: &b[4], Len: 4}}
	for _, vectors := range [][]unix.Iovec{v[:1], v} {
		for _, read := range []func() (int, unix.Errno){
			func() (int, unix.Errno) { return ends[1].Readv(vectors) },
			func() (int, unix.Errno) { n, _, e := ends[1].Recv(vectors, nil, 0); return n, e },
		} {
			ends[0].writes, ends[1].writes = 5, 5
			if n, e := read(); e != unix.EAGAIN || ends[1].writes != 5 {
				t.Errorf("%d bytes, %v, and %d answers after nothing was received", n, e, ends[1].writes)
			}
			if _, e := ends[0].Writev(vectors); e != 0 || ends[0].writes != 0 {
				t.Errorf("%v and %d answers after something was sent", e, ends[0].writes)
			}
			if _, e := read(); e != 0 || ends[1].writes != 0 {
				t.Errorf("%v and %d answers after something was received", e, ends[1].writes)
			}
		}
	}
	if n, e := ends[1].Readv(nil); n != 0 || e != 0 {
		t.Errorf("reading nothing: %d bytes, %v", n, e)
	}
}
