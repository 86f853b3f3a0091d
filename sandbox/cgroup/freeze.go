package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Freeze stops every process in the cgroup and below and returns when the
// kernel says that all of them are. ctx bounds the wait; a cgroup that is not
// frozen when it ends is thawed again.
//
// It fails with errdefs.ErrNotFound when the cgroup is gone, and with a
// *control.Error of class InvalidArgument on a node without a freezer.
func (c *Cgroup) Freeze(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			c.setFrozen(false)
		}
	}()
	if m, ok := c.host.v1["freezer"]; ok {
		return c.freezeV1(ctx, filepath.Join(m, c.target.path, "freezer.state"))
	}
	if c.host.v2 == "" {
		return control.Errorf(control.InvalidArgument, "freezing needs the cgroup controller \"freezer\", which is not mounted on this node; mount it")
	}
	dir := filepath.Join(c.host.v2, c.target.path)
	if err := c.writeFrozen(filepath.Join(dir, "cgroup.freeze"), "1"); err != nil {
		return err
	}
	return waitFrozen(ctx, dir)
}

// Thaw lets the processes go on. It fails as Freeze does.
func (c *Cgroup) Thaw() error {
	if m, ok := c.host.v1["freezer"]; ok {
		return c.writeFrozen(filepath.Join(m, c.target.path, "freezer.state"), "THAWED")
	}
	return c.writeFrozen(filepath.Join(c.host.v2, c.target.path, "cgroup.freeze"), "0")
}

func (c *Cgroup) writeFrozen(file, text string) error {
	err := writeFile(file, text)
	if gone(err) {
		return fmt.Errorf("freeze cgroup %s: %w", c.target.path, errdefs.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("freeze cgroup %s: %w", c.target.path, err)
	}
	return nil
}

// freezeV1 asks for the state until it is reached: a v1 freezer has no event,
// and may stay in FREEZING until it is asked again
// (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
func (c *Cgroup) freezeV1(ctx context.Context, file string) error {
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		if err := c.writeFrozen(file, "FROZEN"); err != nil {
			return err
		}
		state, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("freeze cgroup %s: %w", c.target.path, err)
		}
		if strings.TrimSpace(string(state)) == "FROZEN" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("freeze cgroup %s: %w", c.target.path, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// waitFrozen waits for the "frozen 1" of a v2 cgroup.
func waitFrozen(ctx context.Context, dir string) error {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return fmt.Errorf("wait for the freezer: %w", err)
	}
	defer f.Close()
	buf := make([]byte, 256)
	for {
		// The read arms the event: a change after it makes POLLPRI.
		n, err := f.ReadAt(buf, 0)
		if n > 0 && hasLine(buf[:n], "frozen 1") {
			return nil
		}
		if gone(err) {
			return fmt.Errorf("wait for the freezer: %w", errdefs.ErrNotFound)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the freezer: %w", context.Cause(ctx))
		}
		// In slices, since ctx cannot interrupt a poll.
		if err := poll(int(f.Fd()), unix.POLLPRI, time.Now().Add(100*time.Millisecond)); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
