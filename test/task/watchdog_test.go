package task

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is for what comes soon or never, however loaded the machine.
	patience = time.Minute
	// longest is what no test takes.
	longest = 3 * time.Minute
)

// watch ends a test that does not end, so that it fails by its name and not with
// the whole run: what it waits for is an answer of a shim, the end of a process, or
// the other side of a FIFO.
func (d *daemon) watch(t testing.TB) {
	if _, isBenchmark := t.(*testing.B); isBenchmark {
		return
	}
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	go func() {
		for wait := longest; ; wait = time.Second {
			select {
			case <-ended:
				return
			case <-time.After(wait):
			}
			if wait == longest {
				t.Errorf("%s has not ended in %v: its shims and containers are killed", t.Name(), longest)
			}
			d.killAll()
			d.wakeFIFOs()
		}
	}()
}

// killAll kills every process that works below the daemon's directory.
func (d *daemon) killAll() {
	for _, name := range []string{"cwd", "root"} {
		links, _ := filepath.Glob("/proc/[0-9]*/" + name)
		for _, link := range links {
			target, err := os.Readlink(link)
			if err == nil && strings.HasPrefix(target, d.dir+"/") {
				if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
		}
	}
}

// wakeFIFOs lets whoever waits to open a FIFO go on, to find nobody there.
func (d *daemon) wakeFIFOs() {
	_ = filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type() == fs.ModeNamedPipe {
			if fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
				unix.Close(fd)
			}
		}
		return nil
	})
}
