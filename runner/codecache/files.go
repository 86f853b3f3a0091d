package codecache

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// openDir opens a directory below dirfd and never follows a symlink.
func openDir(dirfd int, name string) (int, error) {
	return openAt(dirfd, name, unix.O_DIRECTORY|unix.O_RDONLY)
}

// openFile opens a file for reading. O_NONBLOCK keeps a FIFO in its place from
// hanging the caller.
func openFile(dirfd int, name string) (int, error) {
	return openAt(dirfd, name, unix.O_RDONLY|unix.O_NONBLOCK)
}

func openAt(dirfd int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return fd, nil
	}
}

// namesIn lists a directory, sorted. It leaves fd open, but reads through it.
func namesIn(fd int) ([]string, error) {
	// Another description of the same directory, since an *os.File owns its own.
	again, err := openDir(fd, ".")
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(again), ".")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// checksum reads a file, of about want bytes, from its start. It reads instead
// of mapping, at the same speed: a bad sector or a truncation would otherwise end
// the shim with SIGBUS.
func checksum(fd int, want int64) (sum uint32, size int64, err error) {
	// Made here: as a variable of the package it would cost every start of
	// every program half a millisecond.
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	buf := make([]byte, min(max(want, 0)+1, 128<<10))
	for {
		n, err := unix.Pread(fd, buf, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, 0, err
		case n == 0:
			return sum, size, nil
		}
		sum = crc32.Update(sum, castagnoli, buf[:n])
		size += int64(n)
	}
}

// readSmall reads a file of at most limit bytes.
func readSmall(fd int, limit int) ([]byte, error) {
	buf := make([]byte, limit+1)
	n := 0
	for n < len(buf) {
		m, err := unix.Pread(fd, buf[n:], int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m == 0 {
			return buf[:n], nil
		}
		n += m
	}
	return nil, fmt.Errorf("more than %d bytes: %w", limit, io.ErrShortBuffer)
}

// removeAll removes a name below dirfd with all that is in it, whatever it is.
// Another process may do so at the same time.
func removeAll(dirfd int, name string) error {
	err := unix.Unlinkat(dirfd, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	fd, openErr := openDir(dirfd, name)
	if errors.Is(openErr, unix.ENOENT) {
		return nil
	}
	if openErr != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	defer unix.Close(fd)
	names, err := namesIn(fd)
	if errors.Is(err, unix.ENOENT) {
		return nil // a directory that was removed cannot be read
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := removeAll(fd, n); err != nil {
			return err
		}
	}
	if err := unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// unique returns a name that nobody has guessed or used.
func unique(prefix string) string { return prefix + rand.Text() }
