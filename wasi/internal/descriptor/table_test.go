package descriptor

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func null(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestNumbersAreTheLowestFree(t *testing.T) {
	table := NewTable(10, 10)
	defer table.CloseAll()
	for want := range uint32(5) {
		if _, n, e := table.Add(null(t), 0); n != want || e != 0 {
			t.Fatalf("%d, %v; want %d", n, e, want)
		}
	}
	for _, n := range []uint32{3, 1} {
		if e := table.Close(n); e != 0 {
			t.Fatal(e)
		}
	}
	for _, want := range []uint32{1, 3, 5} {
		if _, n, e := table.Add(null(t), 0); n != want || e != 0 {
			t.Errorf("%d, %v; want %d", n, e, want)
		}
	}
	if e := table.Renumber(4, 0); e != 0 {
		t.Fatal(e)
	}
	if _, n, _ := table.Add(null(t), 0); n != 4 {
		t.Errorf("after renumbering: %d, want 4", n)
	}
	for _, e := range []unix.Errno{table.Renumber(9, 0), table.Renumber(0, 9), table.Renumber(0, 1<<31), table.Close(9), table.Close(1<<32 - 1)} {
		if e != unix.EBADF {
			t.Errorf("a number that is not open: %v", e)
		}
	}
	if e := table.Renumber(0, 0); e != 0 || table.Get(0) == nil {
		t.Errorf("onto itself: %v", e)
	}
}

func TestLimitsAreEMFILE(t *testing.T) {
	table, root := mount(t, world(t), true, false)
	table.maxOpen, table.maxDirs = 4, 2
	if _, _, e := table.Open(root, path(t, "dir"), unix.O_RDONLY, 0); e != 0 {
		t.Fatal(e)
	}
	if _, _, e := table.Open(root, path(t, "dir"), unix.O_RDONLY, 0); e != unix.EMFILE {
		t.Errorf("a third directory: %v", e)
	}
	for range 2 {
		if _, _, e := table.Open(root, path(t, "file"), unix.O_RDONLY, 0); e != 0 {
			t.Fatal(e)
		}
	}
	if _, _, e := table.Open(root, path(t, "new"), unix.O_WRONLY|unix.O_CREAT, 0o666); e != unix.EMFILE {
		t.Errorf("a fifth descriptor: %v", e)
	}
	var st unix.Stat_t
	if e := root.StatAt(path(t, "new"), true, &st); e != unix.ENOENT {
		t.Errorf("the file was created all the same: %v", e)
	}
	if e := table.Close(1); e != 0 {
		t.Fatal(e)
	}
	if _, n, e := table.Open(root, path(t, "file"), unix.O_RDONLY, 0); n != 1 || e != 0 {
		t.Errorf("after a close: %d, %v", n, e)
	}
}

func TestInheritedStreamsStayAsTheyAre(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(p[0]); _ = unix.Close(p[1]) }()
	table := NewTable(10, 10)
	n, e := table.AddInherited(p[0])
	if e != 0 {
		t.Fatal(e)
	}
	w, e := table.AddInherited(p[1])
	if e != 0 {
		t.Fatal(e)
	}
	in, out := table.Get(n), table.Get(w)
	buf := make([]byte, 1<<20)
	v := func(size int) []unix.Iovec { return []unix.Iovec{{Base: &buf[0], Len: uint64(size)}} }
	for _, d := range []*Descriptor{in, out} {
		if e := d.SetFlags(unix.O_NONBLOCK | unix.O_APPEND); e != 0 || d.Flags() != unix.O_NONBLOCK {
			t.Errorf("flags %#x, %v", d.Flags(), e)
		}
	}
	for _, fd := range p {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("the shared description has flags %#x now, %v", flags, err)
		}
	}
	if _, e := in.Readv(v(10)); e != unix.EAGAIN {
		t.Errorf("reading from an empty pipe: %v", e)
	}
	if n, e := out.Writev(v(len(buf))); n <= 0 || n == len(buf) || e != 0 {
		t.Errorf("writing more than a pipe holds: %d, %v", n, e)
	}
	if n, e := out.Writev(v(len(buf))); e != unix.EAGAIN {
		t.Errorf("writing to a full pipe: %d, %v", n, e)
	}
	if n, e := in.Readv(v(10)); n != 10 || e != 0 {
		t.Errorf("reading: %d, %v", n, e)
	}
	_ = table.Close(n)
	if _, err := unix.FcntlInt(uintptr(p[0]), unix.F_GETFD, 0); err != nil {
		t.Errorf("closing it for the guest closed it: %v", err)
	}
}

// TestStreamsThatSomebodyMadeNonblocking has a shell's habit: O_NONBLOCK on a
// description that others share. A guest that did not ask for it waits.
func TestStreamsThatSomebodyMadeNonblocking(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(p[0]) }()
	table := NewTable(10, 10)
	n, _ := table.AddInherited(p[0])
	go func() {
		_, _ = unix.Write(p[1], []byte("late"))
		_ = unix.Close(p[1])
	}()
	b := make([]byte, 10)
	v := []unix.Iovec{{Base: &b[0], Len: 10}}
	if n, e := table.Get(n).Readv(v); n != 4 || e != 0 {
		t.Errorf("%d, %v", n, e)
	}
	if n, e := table.Get(n).Readv(v); n != 0 || e != 0 {
		t.Errorf("at the end: %d, %v", n, e)
	}
}

func TestClosedStreamsReadAsEmptyAndDiscard(t *testing.T) {
	table := NewTable(10, 10)
	for _, fd := range []int{-1, 1 << 20} {
		n, e := table.AddInherited(fd)
		if e != 0 {
			t.Fatal(e)
		}
		d, b := table.Get(n), []byte("text")
		v := []unix.Iovec{{Base: &b[0], Len: 4}}
		if n, e := d.Readv(v); n != 0 || e != 0 {
			t.Errorf("read: %d, %v", n, e)
		}
		if n, e := d.Writev(v); n != 4 || e != 0 {
			t.Errorf("write: %d, %v", n, e)
		}
		var st unix.Stat_t
		if e := d.Stat(&st); e != 0 || d.Type != CharacterDevice {
			t.Errorf("stat: %v, type %d", e, d.Type)
		}
	}
}

// A listener may be a stream of a process: inetd's way.
func TestAnInheritedListenerThatDoesNotBlock(t *testing.T) {
	table := NewTable(10, 1)
	defer table.CloseAll()
	l, _, e := table.AddListener(netip.MustParseAddrPort("127.0.0.1:0"))
	if e != 0 {
		t.Fatal(e)
	}
	n, e := table.AddInherited(l.fd)
	if e != 0 {
		t.Fatal(e)
	}
	d := table.Get(n)
	if e := d.SetFlags(unix.O_NONBLOCK); e != 0 {
		t.Fatal(e)
	}
	if _, _, e := table.AcceptSocket(d, false); e != unix.EAGAIN {
		t.Errorf("accept: %v", e)
	}
}

func TestDiscardedBytesAreCountedAsTheKernelWould(t *testing.T) {
	table := NewTable(10, 1)
	n, e := table.AddInherited(-1)
	if e != 0 {
		t.Fatal(e)
	}
	v := []unix.Iovec{{Len: 1 << 32}, {Len: 5}}
	if n, e := table.Get(n).Writev(v); n != 0x7fff_f000 || e != 0 {
		t.Errorf("%d, %v", n, e)
	}
}
