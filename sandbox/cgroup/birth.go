package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/pkg/kernelversion"
	"golang.org/x/sys/unix"
)

// Birth is how a child comes into the cgroup without being moved by its parent.
//
// Moving a process takes a lock that every fork and exit of the machine shares,
// and with it some 10 ms, for which the kernel waits until no processor uses the
// lock's fast path. A birth takes no lock: in cgroup v2 clone3(2) names the
// cgroup. Nor does a thread that moves itself alone, as v1 has it.
type Birth struct {
	// dir is that of the v2 hierarchy.
	dir *os.File
	// tasks are open for writing.
	tasks []*os.File
}

// Birth returns nil where there is none, and the parent has to Add its child. The
// caller closes it.
//
// With v1 there is none without a v2 hierarchy beside it: a child has to be in the
// cgroup for Kill before it moves itself, or one that has lost its parent could
// come in while the cgroup is deleted.
func (c *Cgroup) Birth() *Birth {
	c.mu.Lock()
	pending := c.pending != nil
	c.mu.Unlock()
	if pending || c.host.v2 == "" || !cloneIntoCgroup() {
		return nil
	}
	dir, err := os.OpenFile(filepath.Join(c.host.v2, c.target.path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	b := &Birth{dir: dir}
	for _, d := range c.inOrderOfJoining() {
		f, err := os.OpenFile(filepath.Join(d, "tasks"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			b.Close()
			return nil
		}
		b.tasks = append(b.tasks, f)
	}
	return b
}

// inOrderOfJoining lists the directories in hierarchies of v1. That of the freezer
// and then that of the processor come last: nobody shall be stopped, or get no
// processor for the container's small share of it, who holds the kernel's lock of
// all cgroups for the next one.
func (c *Cgroup) inOrderOfJoining() []string {
	var all, last []string
	late := []string{filepath.Join(c.host.v1["freezer"], c.target.path), filepath.Join(c.host.v1["cpu"], c.target.path)}
	for _, dir := range c.dirs() {
		switch {
		case dir == filepath.Join(c.host.v2, c.target.path):
		case slices.Contains(late, dir):
			last = append(last, dir)
		default:
			all = append(all, dir)
		}
	}
	slices.SortFunc(last, func(a, b string) int { return slices.Index(late, a) - slices.Index(late, b) })
	return append(all, last...)
}

// Prepare lets cmd, which is not started yet, be born in the cgroup of v2.
func (b *Birth) Prepare(cmd *exec.Cmd) {
	if b != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(b.dir.Fd())
	}
}

// Tasks are the files named so of the hierarchies of v1. To each of them the child
// has to write "0" in this order, by the thread that remains when it executes its
// program, and before it does anything that is to be limited.
func (b *Birth) Tasks() []*os.File {
	if b == nil {
		return nil
	}
	return b.tasks
}

// Close is for after the start of the child. It may be called for nil.
func (b *Birth) Close() {
	if b == nil {
		return
	}
	b.dir.Close()
	for _, f := range b.tasks {
		f.Close()
	}
}

// cloneIntoCgroup tells whether clone3(2) takes a cgroup, as of Linux 5.7, and no
// filter of system calls around containerd hides it. That to move oneself needs no
// lock is since 5.4.
var cloneIntoCgroup = sync.OnceValue(func() bool {
	ok, err := kernelversion.GreaterEqualThan(kernelversion.KernelVersion{Kernel: 5, Major: 7})
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0) // arguments of no size
	return ok && err == nil && errno == unix.EINVAL
})
