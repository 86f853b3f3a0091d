package kernel

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestABriefCallTellsWhatTheKernelSays(t *testing.T) {
	path := t.TempDir() + "/file"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(flags int) int {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = Close(fd) })
		return fd
	}
	r, w := open(unix.O_RDONLY), open(unix.O_WRONLY)
	b := []byte("abcdef")
	v := func(from, to int) *unix.Iovec { return &unix.Iovec{Base: &b[from], Len: uint64(to - from)} }
	read := func(fd int, v *unix.Iovec) func() (uintptr, unix.Errno) {
		return func() (uintptr, unix.Errno) { return ReadBriefly(fd, v) }
	}
	write := func(fd int, v *unix.Iovec) func() (uintptr, unix.Errno) {
		return func() (uintptr, unix.Errno) { return WriteBriefly(fd, v) }
	}
	pread := func(fd int, v *unix.Iovec, offset uintptr) func() (uintptr, unix.Errno) {
		return func() (uintptr, unix.Errno) { return PreadBriefly(fd, v, offset) }
	}
	pwrite := func(fd int, v *unix.Iovec, offset uintptr) func() (uintptr, unix.Errno) {
		return func() (uintptr, unix.Errno) { return PwriteBriefly(fd, v, offset) }
	}
	nowhere := &unix.Iovec{Base: nil, Len: 1}
	for _, c := range []struct {
		name string
		call func() (uintptr, unix.Errno)
		n    uintptr
		e    unix.Errno
	}{
		{"write", write(w, v(0, 3)), 3, 0},
		{"pwrite", pwrite(w, v(3, 5), 3), 2, 0},
		{"read", read(r, v(0, 6)), 5, 0},
		{"read at the end", read(r, v(0, 6)), 0, 0},
		{"pread", pread(r, v(0, 6), 1), 4, 0},
		{"read what cannot be read", read(w, v(0, 1)), 0, unix.EBADF},
		{"write what cannot be written", write(r, v(0, 1)), 0, unix.EBADF},
		{"read what is not open", read(-1, v(0, 1)), 0, unix.EBADF},
		{"write from nowhere", write(w, nowhere), 0, unix.EFAULT},
		{"pread to nowhere", pread(r, nowhere, 0), 0, unix.EFAULT},
		{"pwrite before the beginning", pwrite(w, v(0, 1), ^uintptr(0)), 0, unix.EINVAL},
	} {
		if n, e := c.call(); e != c.e || e == 0 && n != c.n {
			t.Errorf("%s: %d, %v, want %d, %v", c.name, n, e, c.n, c.e)
		}
	}
	if got, err := os.ReadFile(path); string(got) != "abcde" || err != nil {
		t.Errorf("the file holds %q, %v", got, err)
	}
}
