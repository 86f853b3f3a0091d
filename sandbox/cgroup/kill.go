package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the waits below. A process that does not die of SIGKILL within
// killTime hangs in the kernel, on a dead NFS server for instance.
const (
	killTime   = 10 * time.Second
	deleteTime = 2 * time.Second
)

// Kill kills every process in the cgroup and below with SIGKILL and returns when
// there is none left, frozen ones included. Zombies do not count. It does nothing
// for a deleted cgroup.
func (c *Cgroup) Kill() error {
	deadline := time.Now().Add(killTime)
	for attempt := 0; ; attempt++ {
		pids, err := c.Pids()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kill cgroup %s: processes %v do not end", c.target.path, pids)
		}
		// cgroup.kill (kernel 5.14) is atomic: a fork cannot slip through.
		if v2 := c.host.v2; v2 != "" {
			dir := filepath.Join(v2, c.target.path)
			err := writeFile(filepath.Join(dir, "cgroup.kill"), "1")
			if err == nil {
				c.setFrozen(false) // by a v1 freezer beside it
				if err := waitEmpty(dir, deadline); err != nil {
					return err
				}
				continue
			}
			if !gone(err) {
				return fmt.Errorf("kill cgroup: %w", err)
			}
		}
		if err := c.killAll(pids, attempt > 0, deadline); err != nil {
			return err
		}
	}
}

// killAll kills pids one by one. With freeze the cgroup is stopped meanwhile, so
// that one that forks faster than it is killed is caught.
func (c *Cgroup) killAll(pids []int, freeze bool, deadline time.Time) error {
	if freeze {
		c.setFrozen(true)
		defer c.setFrozen(false)
	}
	fds := map[int]int{}
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
		fds[pid] = fd
	}
	// A pid may have been reused before it was opened; the second list tells,
	// since an open pidfd refers to one process for ever.
	still, err := c.Pids()
	if err != nil {
		return err
	}
	for pid, fd := range fds {
		if !slices.Contains(still, pid) {
			continue
		}
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	// A v1 task dies only after it thaws, whoever froze it.
	c.setFrozen(false)
	for pid, fd := range fds {
		if slices.Contains(still, pid) {
			if err := poll(fd, unix.POLLIN, deadline); err != nil {
				return err
			}
		}
	}
	return nil
}

// setFrozen stops or continues the processes. It is best effort: without it,
// killing takes more rounds.
func (c *Cgroup) setFrozen(frozen bool) {
	state := "THAWED"
	if frozen {
		state = "FROZEN"
	}
	if m, ok := c.host.v1["freezer"]; ok {
		_ = writeFile(filepath.Join(m, c.target.path, "freezer.state"), state)
	} else if c.host.v2 != "" {
		_ = writeFile(filepath.Join(c.host.v2, c.target.path, "cgroup.freeze"), digit(frozen))
	}
}

// waitEmpty waits for the "populated 0" of a v2 cgroup or the deadline.
func waitEmpty(dir string, deadline time.Time) error {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for cgroup: %w", err)
	}
	defer f.Close()
	buf := make([]byte, 256)
	for time.Now().Before(deadline) {
		// The read arms the event: a change after it makes POLLPRI.
		n, err := f.ReadAt(buf, 0)
		if gone(err) || n > 0 && hasLine(buf[:n], "populated 0") {
			return nil
		}
		if err := poll(int(f.Fd()), unix.POLLPRI, deadline); err != nil {
			return err
		}
	}
	return nil
}

// poll waits for an event on fd, or the deadline, which is no error.
func poll(fd int, events int16, deadline time.Time) error {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, int(left.Milliseconds())+1)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
	}
}
