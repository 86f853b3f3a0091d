package preview1

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ms     = int64(time.Millisecond)
	always = 1 << 60
)

// pipe adds a pipe's ends to the guest's table.
func (g *guest) pipe() (r, w int) {
	g.t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		g.t.Fatal(err)
	}
	return g.add(p[0]), g.add(p[1])
}

func (g *guest) add(fd int) int {
	g.t.Helper()
	d, n, e := g.h.Descriptors.Add(fd, 0)
	if e != 0 {
		g.t.Fatal(e)
	}
	Grant(d)
	return int(n)
}

func TestPollClocks(t *testing.T) {
	g := newGuest(t, "")
	g.want(errInval, "poll_oneoff", atSubs, atEvents, 0, atResult)

	now := time.Now()
	g.ok("clock_time_get", clockMonotonic, uint64(0), atOther)
	monotonic, _ := g.mem.ReadUint64Le(atOther)
	for _, c := range []struct {
		name     string
		id       int
		timeout  int64
		absolute bool
		least    time.Duration
	}{
		{"zero", clockMonotonic, 0, false, 0},
		{"relative", clockMonotonic, 20 * ms, false, 20 * time.Millisecond},
		{"relative realtime", clockRealtime, 20 * ms, false, 20 * time.Millisecond},
		{"absolute in the past", clockRealtime, now.Add(-time.Hour).UnixNano(), true, 0},
		{"absolute 1970", clockMonotonic, 0, true, 0},
	} {
		g.subClock(0, c.id, c.timeout, c.absolute)
		begin := time.Now()
		events := g.poll(1)
		took := time.Since(begin)
		if len(events) != 1 || events[0].userdata != 100 || events[0].e != success || events[0].tag != eventClock {
			t.Errorf("%s: %+v", c.name, events)
		}
		if took < c.least || took > c.least+2*time.Second {
			t.Errorf("%s took %v", c.name, took)
		}
	}
	g.subClock(0, clockMonotonic, int64(monotonic)+always, true)
	g.subClock(1, clockRealtime, time.Now().Add(30*time.Millisecond).UnixNano(), true)
	g.subClock(2, clockMonotonic, -1, false) // The largest timeout.
	g.subClock(3, clockMonotonic, always, false)
	if events := g.poll(4); len(events) != 1 || events[0].userdata != 101 {
		t.Errorf("of several clocks %+v fired", events)
	}
	for id, want := range map[int]Errno{clockProcessCPU: errNotsup, clockThreadCPU: errNotsup, 9: errInval} {
		g.subClock(0, id, 0, false)
		if events := g.poll(1); len(events) != 1 || events[0].e != want {
			t.Errorf("clock %d: %+v", id, events)
		}
	}
}

func TestPollDescriptors(t *testing.T) {
	g := newGuest(t, t.TempDir())
	r, w := g.pipe()
	file := g.open("file", openCreate, rightsFile, 0)
	g.sub(0, eventFdRead, r)
	g.sub(1, eventFdWrite, w)
	g.sub(2, eventFdRead, file)
	g.sub(3, eventFdWrite, file)
	g.sub(4, eventFdRead, 99)
	g.subClock(5, clockMonotonic, 0, false)
	g.sub(6, eventFdWrite, w)
	g.sub(7, eventFdRead, 0)
	g.sub(8, 7, 0)
	events := g.poll(9)
	var got []int
	for _, e := range events {
		got = append(got, int(e.userdata)-100)
		want := success
		switch e.userdata {
		case 104:
			want = errBadf
		case 108:
			want = errInval
		}
		if e.e != want {
			t.Errorf("event of %d: error %d", e.userdata, e.e)
		}
	}
	if !slices.Equal(got, []int{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("events of %v: all but the empty pipe must fire", got)
	}
	// Data, then the end of the stream, which is a hangup of a pipe.
	g.iovec(5)
	g.ok("fd_write", w, atIovec, 1, atResult)
	g.sub(0, eventFdRead, r)
	g.subClock(1, clockMonotonic, 0, false)
	if e := g.poll(2); len(e) != 2 || e[0].nbytes != 5 || e[0].flags != 0 {
		t.Errorf("with data: %+v", e)
	}
	g.ok("fd_close", w)
	g.ok("fd_read", r, atIovec, 1, atResult)
	if e := g.poll(1); len(e) != 1 || e[0].nbytes != 0 || e[0].flags != eventHangup {
		t.Errorf("at the end: %+v", e)
	}
}

func TestPollWaitsForData(t *testing.T) {
	g := newGuest(t, "")
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(p[1]) }()
	r := g.add(p[0])
	time.AfterFunc(30*time.Millisecond, func() { _, _ = unix.Write(p[1], []byte("x")) })
	g.sub(0, eventFdRead, r)
	g.subClock(1, clockMonotonic, 10*1000*ms, false)
	begin := time.Now()
	if e := g.poll(2); len(e) != 1 || e[0].userdata != 100 || time.Since(begin) > 5*time.Second {
		t.Errorf("%+v after %v", e, time.Since(begin))
	}
}

func TestPollRefusesWhatIsNotInMemory(t *testing.T) {
	g := newGuest(t, "")
	g.subClock(0, clockMonotonic, 0, false)
	size := uint32(4 << 16)
	for _, p := range [][4]uint32{
		{size - 47, atEvents, 1, atResult}, {atSubs, size - 31, 1, atResult}, {atSubs, atEvents, 1, size - 3},
		{atSubs, atEvents, 1 << 31, atResult}, {atSubs, atEvents, 1<<32 - 1, atResult}, {1<<32 - 1, atEvents, 1, atResult},
	} {
		g.want(errFault, "poll_oneoff", p[0], p[1], p[2], p[3])
	}
}

// The wait is on a clock that nobody sets.
func TestARealtimeThatGoesSlowerIsWaitedFor(t *testing.T) {
	g := newGuest(t, "")
	var looks int64
	g.h.clock.Now = func() time.Time { looks++; return time.Unix(1000, looks) }
	g.subClock(0, clockRealtime, time.Unix(1000, 20).UnixNano(), true)
	g.subClock(1, clockMonotonic, always, false)
	if events := g.poll(2); len(events) != 1 || events[0].userdata != 100 || looks < 20 {
		t.Errorf("%+v after %d looks at the clock", events, looks)
	}
}
