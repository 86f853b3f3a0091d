package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/pkg/kernelversion"
	"golang.org/x/sys/unix"
)

// Start calls start, which starts cmd, such that the child is born in the cgroup,
// where that can be done. born says whether it was: otherwise the caller has to
// Add it.
//
// Moving a process takes a lock that every fork and exit of the machine shares,
// and with it some 10 ms, for which the kernel waits until no processor uses the
// lock's fast path. A birth takes no lock: in cgroup v2 clone3(2) names the
// cgroup.
func (c *Cgroup) Start(cmd *exec.Cmd, start func() error) (born bool, err error) {
	c.mu.Lock()
	pending := c.pending != nil
	c.mu.Unlock()
	if pending || !c.host.unified() || !cloneIntoCgroup() {
		return false, start()
	}
	dir, err := os.OpenFile(filepath.Join(c.host.v2, c.target.path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, start()
	}
	defer dir.Close()
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	return true, start()
}

// cloneIntoCgroup tells whether clone3(2) takes a cgroup, as of Linux 5.7.
var cloneIntoCgroup = sync.OnceValue(func() bool {
	ok, err := kernelversion.GreaterEqualThan(kernelversion.KernelVersion{Kernel: 5, Major: 7})
	return ok && err == nil
})
