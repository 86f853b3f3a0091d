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
	file := add(filepath.Join(dir, "file"), unix.O_RDWR|unix.O_CREAT)
	for _, c := range []struct {
		name string
		d    *Descriptor
		want bool
	}{
		{"a file in memory", file, true},
		{"a FIFO", add(filepath.Join(dir, "fifo"), unix.O_RDWR), false},
		{"a directory", add(dir, unix.O_RDONLY|unix.O_DIRECTORY), false},
		{"a file that a driver makes", add("/proc/self/status", unix.O_RDONLY), false},
	} {
		for range 2 { // It is looked up once.
			if got := c.d.Brief(); got != c.want {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}
	}
	if file.Syncs() {
		t.Error("a file waits for the disk without having been asked to")
	}
	if e := file.SetFlags(unix.O_DSYNC); e != 0 || !file.Syncs() {
		t.Errorf("O_DSYNC: %v, waits for the disk: %v", e, file.Syncs())
	}
	if !add(filepath.Join(dir, "synced"), unix.O_RDWR|unix.O_CREAT|unix.O_SYNC).Syncs() {
		t.Error("a file that was opened with O_SYNC does not wait for the disk")
	}
}
