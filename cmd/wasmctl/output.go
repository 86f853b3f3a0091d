package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writeFile lets write produce the content of the file at path. A regular file
// appears whole or not at all: readers never see half an image, and a failure
// leaves the old one. Anything else, such as a FIFO, is written to in place.
func writeFile(path string, write func(io.Writer) error) error {
	// Links are followed, so that renaming does not replace /dev/stdout.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		if st.IsDir() {
			return fmt.Errorf("%s is a directory; name a file with -o", path)
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if isTerminal(f) {
			f.Close()
			return fmt.Errorf("an image is not written to a terminal; name a file with -o")
		}
		return errors.Join(buffered(f, write), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return err
	}
	err = buffered(f, write)
	if err == nil {
		// CreateTemp made it private; give it the mode of any new file.
		err = f.Chmod(0o666 &^ umask())
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func buffered(f *os.File, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(f, 1<<20)
	if err := write(b); err != nil {
		return err
	}
	return b.Flush()
}

// umask reads the mask; the kernel has no call that does not also set it.
func umask() os.FileMode {
	mask := unix.Umask(0o022)
	unix.Umask(mask)
	return os.FileMode(mask)
}
