package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Cgroup is the cgroup of one container. Its methods may be called concurrently.
type Cgroup struct {
	host   *host
	target target

	mu sync.Mutex
	// pending is what the first Add makes: a systemd scope cannot exist without
	// a process. It is nil once the cgroup exists. Guarded by mu.
	pending *limits
}

// limits is what a spec asks for, converted and checked.
type limits struct {
	resources *specs.LinuxResources
	plan      []setting
	devices   deviceRules
}

// Create makes the cgroup that linux.cgroupsPath names, with the limits of
// linux.resources, which may be nil. Nothing joins it.
//
// The path is absolute and relative to the root of each hierarchy; a spec
// without one gets /<namespace>/<id> from the caller, as ctr's specs have it. It
// may have the form slice:prefix:name: where systemd runs, the scope is then
// started by it, with the first process that is added; elsewhere the directory
// that systemd would use is made.
//
// A field of linux.resources that cannot be applied and a path that cannot be
// used are refused with a *control.Error of class InvalidArgument. After an
// error nothing is left behind.
func Create(path string, res *specs.LinuxResources) (*Cgroup, error) {
	h, err := discover()
	if err != nil {
		return nil, err
	}
	return h.create(path, res)
}

func (h *host) create(path string, res *specs.LinuxResources) (*Cgroup, error) {
	t, err := parsePath(path)
	if err != nil {
		return nil, err
	}
	if res == nil {
		res = &specs.LinuxResources{}
	}
	l := &limits{resources: res}
	if l.plan, err = plan(res, h.unified()); err != nil {
		return nil, err
	}
	if l.devices, err = rulesOf(res.Devices); err != nil {
		return nil, err
	}
	if err := h.check(l.plan); err != nil {
		return nil, err
	}
	if err := h.checkDevices(l.devices); err != nil {
		return nil, err
	}
	c := &Cgroup{host: h, target: t}
	if t.unit != "" && systemdRuns() {
		c.pending = l
		return c, nil
	}
	if err := c.make(l, true); err != nil {
		return nil, err
	}
	return c, nil
}

// make makes the directories in every hierarchy and sets the limits. Those of a scope
// are not fresh: systemd has made some of them.
func (c *Cgroup) make(l *limits, fresh bool) (err error) {
	defer func() {
		if err == nil {
			return
		}
		for _, m := range c.host.mounts() {
			if !errors.Is(err, fs.ErrExist) { // otherwise it is somebody else's
				_ = removeTree(filepath.Join(m, c.target.path))
			}
			removeParents(m, c.target.path)
		}
		switch {
		case errors.Is(err, fs.ErrExist):
			err = control.Errorf(control.InvalidArgument, "linux.cgroupsPath %s is in use by running processes; remove the container that owns it or choose another path", c.target.path)
		case errors.Is(err, unix.ENOTDIR):
			err = control.Errorf(control.InvalidArgument, "linux.cgroupsPath %s collides with a control file: %w; choose another path", c.target.path, err)
		}
	}()
	for _, m := range c.host.mounts() {
		if !fresh && m == c.host.v1[systemdsOwn] {
			continue
		}
		enter := func(string, string) error { return nil }
		switch {
		case c.host.unified():
			enter = func(parent, _ string) error { enableControllers(parent); return nil }
		case m == c.host.v1["cpuset"]:
			enter = inheritCpuset
		}
		if err := makeDir(m, c.target.path, fresh, enter); err != nil {
			return fmt.Errorf("make cgroup %s: %w", c.target.path, err)
		}
	}
	for _, s := range l.plan {
		if err := c.host.apply(c.target.path, s); err != nil {
			return err
		}
	}
	return c.host.applyDevices(c.target.path, l.devices)
}

// Load finds the cgroup that Create made for the same path, perhaps in another
// process. It fails with errdefs.ErrNotFound when no hierarchy has it.
func Load(path string) (*Cgroup, error) {
	h, err := discover()
	if err != nil {
		return nil, err
	}
	return h.load(path)
}

func (h *host) load(path string) (*Cgroup, error) {
	t, err := parsePath(path)
	if err != nil {
		return nil, err
	}
	c := &Cgroup{host: h, target: t}
	if len(c.dirs()) == 0 {
		return nil, fmt.Errorf("cgroup %s: %w", t.path, errdefs.ErrNotFound)
	}
	return c, nil
}

// Path is the cgroup's path relative to the root of each hierarchy. For the
// systemd form it is where systemd puts the scope.
func (c *Cgroup) Path() string { return c.target.path }

// dirs lists the directories of the cgroup that exist, the best one to ask for
// processes first.
func (c *Cgroup) dirs() []string {
	var all []string
	for _, m := range c.host.mounts() {
		dir := filepath.Join(m, c.target.path)
		if st, err := os.Lstat(dir); err == nil && st.IsDir() {
			all = append(all, dir)
		}
	}
	return all
}

// systemdsOwn is the hierarchy in which systemd keeps its units. It has put the first
// process of a scope there itself, and removes directories there as it likes.
const systemdsOwn = "name=systemd"

// Add moves a process, with all its threads, into the cgroup. It fails with
// errdefs.ErrNotFound when the process or the cgroup is gone.
func (c *Cgroup) Add(pid int) error {
	if pid <= 0 {
		return fmt.Errorf("add process %d to cgroup: %w", pid, errdefs.ErrInvalidArgument) // 0 would move the caller
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	scope := c.pending != nil
	if scope {
		if err := startScope(c.target, c.pending, pid, c.host.unified()); err != nil {
			return err
		}
		if err := c.make(c.pending, false); err != nil {
			_ = stopScope(c.target.unit)
			return err
		}
		c.pending = nil
	}
	dirs := c.dirs()
	if len(dirs) == 0 {
		return fmt.Errorf("add process %d to cgroup %s: %w", pid, c.target.path, errdefs.ErrNotFound)
	}
	for _, dir := range dirs {
		if scope && dir == filepath.Join(c.host.v1[systemdsOwn], c.target.path) {
			continue
		}
		if err := addTo(dir, pid); err != nil {
			if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
				err = errors.Join(errdefs.ErrNotFound, err)
			}
			return fmt.Errorf("add process %d to cgroup: %w", pid, err)
		}
	}
	return nil
}

func addTo(dir string, pid int) error {
	file := filepath.Join(dir, "cgroup.procs")
	var err error
	for range 5 {
		if err = writeFile(file, strconv.Itoa(pid)); !errors.Is(err, unix.EINVAL) {
			break
		}
		// A task that is still being forked (TASK_NEW) is refused with EINVAL
		// for a moment, and no event tells when it is over; see runc, PR 1950.
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// Pids lists the processes in the cgroup and in those below it, in the pid
// namespace of the caller. A deleted cgroup has none.
func (c *Cgroup) Pids() ([]int, error) {
	dirs := c.dirs()
	if len(dirs) == 0 {
		return nil, nil
	}
	pids, err := pidsBelow(dirs[0])
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup: %w", err)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

func pidsBelow(root string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(root, func(dir string, e fs.DirEntry, err error) error {
		switch {
		case gone(err):
			return nil // removed meanwhile, with nothing in it
		case err != nil:
			return err
		case !e.IsDir():
			return nil
		}
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil // threaded: its processes are listed by the domain above
		}
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for line := range strings.FieldsSeq(string(b)) {
			pid, err := strconv.Atoi(line)
			if err != nil {
				return err
			}
			if pid != 0 { // a process outside of our pid namespace
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}

// gone reports whether a cgroup vanished while it was used: open answers ENOENT,
// a read of an open file ENODEV.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}
