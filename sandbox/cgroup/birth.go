package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/pkg/kernelversion"
	"golang.org/x/sys/unix"
)

// fewPids is a pids limit that a thread of the caller in the cgroup would be felt
// in.
const fewPids = 8

// Start calls start, which starts cmd, such that the child is born in the cgroup,
// where that can be done. born says whether it was: otherwise the caller has to
// Add it. start must fork in the goroutine that calls it, as exec.Cmd.Start does.
// Start itself is to be called by way of osthread.Run, which gets clean.
//
// Moving a process takes a lock that every fork and exit of the machine shares,
// and with it some 10 ms, for which the kernel waits until no processor uses the
// lock's fast path. A birth takes no lock: in cgroup v2 clone3(2) names the
// cgroup, and in v1 the child inherits those of the forking thread, which may
// move itself.
func (c *Cgroup) Start(cmd *exec.Cmd, start func() error) (born, clean bool, err error) {
	c.mu.Lock()
	pending, limit := c.pending != nil, c.pids
	c.mu.Unlock()
	if pending || limit > 0 && limit < fewPids {
		return false, true, start()
	}
	if c.host.v2 != "" {
		dir, err := os.OpenFile(filepath.Join(c.host.v2, c.target.path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil || !cloneIntoCgroup() {
			return false, true, start()
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if c.host.unified() {
		return true, true, start()
	}
	return c.startInside(cmd, start)
}

// cloneIntoCgroup tells whether clone3(2) takes a cgroup, as of Linux 5.7.
var cloneIntoCgroup = sync.OnceValue(func() bool {
	ok, err := kernelversion.GreaterEqualThan(kernelversion.KernelVersion{Kernel: 5, Major: 7})
	return ok && err == nil
})

// startInside moves this thread into the v1 cgroups, calls start and moves it
// back.
func (c *Cgroup) startInside(cmd *exec.Cmd, start func() error) (born, clean bool, err error) {
	homes, err := c.host.homes()
	if err != nil {
		cmd.SysProcAttr.UseCgroupFD = false
		return false, true, start()
	}
	defer homes.close()
	for i, h := range homes {
		if err := c.enter(h.mountpoint); err != nil {
			cmd.SysProcAttr.UseCgroupFD = false
			clean = homes[:i].enter()
			return false, clean, start()
		}
	}
	err = start()
	return true, homes.enter(), err
}

// enter moves this thread into the cgroup of one hierarchy.
func (c *Cgroup) enter(mountpoint string) error {
	tasks, err := os.OpenFile(filepath.Join(mountpoint, c.target.path, "tasks"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer tasks.Close()
	return moveSelf(tasks)
}

// moveSelf moves this thread by a file "tasks". The number 0 is what spares the
// lock: the thread cannot end or change meanwhile.
func moveSelf(tasks *os.File) error {
	_, err := tasks.WriteString("0")
	return err
}

// home is the cgroup of this thread in one v1 hierarchy.
type home struct {
	mountpoint string
	tasks      *os.File
}

type homes []home

// enter moves this thread, and says whether it is in all of them then.
func (hs homes) enter() bool {
	var errs []error
	for _, h := range hs {
		errs = append(errs, moveSelf(h.tasks))
	}
	return errors.Join(errs...) == nil
}

func (hs homes) close() {
	for _, h := range hs {
		h.tasks.Close()
	}
}

// homes opens the way back of this thread in every v1 hierarchy.
func (h *host) homes() (_ homes, err error) {
	f, err := os.Open("/proc/thread-self/cgroup")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found homes
	defer func() {
		if err != nil {
			found.close()
		}
	}()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// hierarchy:controller,controller:path, see cgroups(7)
		_, rest, _ := strings.Cut(lines.Text(), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		first, _, _ := strings.Cut(controllers, ",")
		mountpoint, ok := h.v1[first]
		if !ok {
			continue // v2, or a hierarchy that is not mounted
		}
		tasks, err := os.OpenFile(filepath.Join(mountpoint, path, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		found = append(found, home{mountpoint, tasks})
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if want := len(h.mounts()); len(found) != want && (h.v2 == "" || len(found) != want-1) {
		return nil, fmt.Errorf("this thread is in %d of %d mounted cgroup hierarchies", len(found), want)
	}
	return found, nil
}
