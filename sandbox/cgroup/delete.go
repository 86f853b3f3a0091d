package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Delete removes the cgroup, those below it, and the parents that were made for
// it when nobody else uses them. A cgroup that is gone is no error.
//
// It waits a moment for processes that are ending, and fails with
// errdefs.ErrFailedPrecondition when some are running: Kill first.
func (c *Cgroup) Delete() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending != nil {
		c.pending = nil // the scope was never started
		return nil
	}
	if c.target.unit != "" && systemdRuns() {
		// Stopping a scope would kill what runs in it; an empty one that is not
		// stopped ends by itself.
		if pids, err := c.Pids(); err == nil && len(pids) == 0 {
			if err := stopScope(c.target.unit); err != nil {
				return err
			}
		}
	}
	deadline := time.Now().Add(deleteTime)
	for _, m := range c.host.mounts() {
		if err := c.remove(filepath.Join(m, c.target.path), deadline); err != nil {
			return err
		}
		removeParents(m, c.target.path)
	}
	return nil
}

// Sweep removes the parents that a Create of path made before it was killed: Load
// does not find what had no cgroup yet. One that was killed between making a
// directory and marking it leaves that directory, as one of somebody else's.
func Sweep(path string) error {
	h, err := discover()
	if err != nil {
		return err
	}
	t, err := parsePath(path)
	if err != nil {
		return err
	}
	for _, m := range h.mounts() {
		removeParents(m, t.path)
	}
	return nil
}

// remove removes one directory tree. The kernel answers EBUSY until the last
// task is unlinked, shortly after its exit is reported. On v1 no event tells
// when, hence the growing pauses.
func (c *Cgroup) remove(dir string, deadline time.Time) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := removeTree(dir)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("delete cgroup: %w", err)
		}
		if time.Now().After(deadline) {
			pids, _ := pidsBelow(dir)
			return fmt.Errorf("delete cgroup %s: processes %v are running in it: %w", c.target.path, pids, errdefs.ErrFailedPrecondition)
		}
		time.Sleep(pause)
	}
}

// hasLine reports whether text has the line.
func hasLine(text []byte, line string) bool {
	for l := range bytes.SplitSeq(text, []byte{'\n'}) {
		if string(l) == line {
			return true
		}
	}
	return false
}
