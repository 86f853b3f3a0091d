package descriptor

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Go's scheduler has to know of what may wait for another program: its monitor
// signals what it believes to compute, which a file system in user space may take
// for the wish to give up.
func TestCallsAreBriefOnFilesOfThisKernelAlone(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "brief")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	table := NewTable(10, 1)
	t.Cleanup(table.CloseAll)
	add := func(path string, flags int) *Descriptor {
		t.Helper()
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		d, _, e := table.Add(fd, flags)
		if e != 0 {
			t.Fatal(e)
		}
		return d
	}
	vectors := func(sizes ...int) (v []unix.Iovec) {
		for _, size := range sizes {
			v = append(v, unix.Iovec{Base: &make([]byte, size)[0], Len: uint64(size)})
		}
		return v
	}
	file := add(filepath.Join(dir, "file"), unix.O_RDWR|unix.O_CREAT)
	for _, c := range []struct {
		name string
		d    *Descriptor
		v    []unix.Iovec
		want bool
	}{
		{"a file in memory", file, vectors(briefSize), true},
		{"much of it", file, vectors(briefSize + 1), false},
		{"two vectors", file, vectors(1, 1), false},
		{"no vector", file, nil, false},
		{"a FIFO", add(filepath.Join(dir, "fifo"), unix.O_RDWR), vectors(1), false},
		{"a directory", add(dir, unix.O_RDONLY|unix.O_DIRECTORY), vectors(1), false},
		{"a file that a driver makes", add("/proc/self/status", unix.O_RDONLY), vectors(1), false},
	} {
		for range 2 { // It is looked up once.
			if got := c.d.briefly(c.v); got != c.want {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}
	}
	if file.syncs() {
		t.Error("a file waits for the disk without having been asked to")
	}
	if e := file.SetFlags(unix.O_DSYNC); e != 0 || !file.syncs() {
		t.Errorf("O_DSYNC: %v, waits for the disk: %v", e, file.syncs())
	}
	if !add(filepath.Join(dir, "synced"), unix.O_RDWR|unix.O_CREAT|unix.O_SYNC).syncs() {
		t.Error("a file that was opened with O_SYNC does not wait for the disk")
	}
	// With the flag and without, in whatever way a call is made, it does the same.
	for _, v := range [][]unix.Iovec{vectors(10), vectors(5, 5), vectors(briefSize + 1)} {
		for _, flags := range []int{unix.O_DSYNC, 0} {
			_ = file.SetFlags(flags)
			size := total(v)
			_ = file.Truncate(0)
			_, _ = file.Lseek(0, unix.SEEK_SET)
			if n, e := file.Writev(v); n != size || e != 0 {
				t.Errorf("write %d: %d, %v", size, n, e)
			}
			if n, e := file.Pwritev(v, int64(size)); n != size || e != 0 {
				t.Errorf("pwrite %d: %d, %v", size, n, e)
			}
			if n, e := file.Readv(v); n != size || e != 0 {
				t.Errorf("read %d: %d, %v", size, n, e)
			}
			if n, e := file.Preadv(v, int64(size)); n != size || e != 0 {
				t.Errorf("pread %d: %d, %v", size, n, e)
			}
		}
	}
	if _, e := file.Preadv(vectors(1), -1); e != unix.EINVAL {
		t.Errorf("pread at -1: %v", e)
	}
}
