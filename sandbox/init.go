package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/timeline"
)

// Init is the process that Command describes. It builds the sandbox that the
// Config on control.ConfigFD asks for and becomes the program on
// control.ProgramFD; when it cannot, it reports why on control.SocketFD and
// exits with 1. It never returns.
//
// Everything happens on one thread, by raw system calls: namespaces, users and
// capabilities belong to threads, and that the other threads of the Go runtime
// keep the host's does not matter, since execve(2) ends them and makes this
// thread the process, whichever it is.
func Init() {
	runtime.LockOSThread()
	begun := timeline.Now()
	err := guard(func() error { return enter(begun) })
	_ = control.SendError(descriptor(control.SocketFD), err)
	os.Exit(1)
}

// guard turns a panic into an error, since nobody would see it on the guest's
// stderr.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sandbox init panicked: %v", p)
		}
	}()
	return f()
}

// enter does not return when it succeeds.
func enter(begun int64) error {
	// A thread that shares its working directory with others cannot enter a
	// mount namespace, and execve(2) by a thread whose fs_struct others use
	// makes their clone(2) fail with EAGAIN meanwhile, which Go does not
	// survive.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the working directory: %w", err)
	}
	// In a pid namespace that is shared with other containers, /proc/<pid>/exe
	// and /proc/<pid>/fd of this process would lead them to the host.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the init undumpable: %w", err)
	}
	if err := closeOnExec(); err != nil {
		return fmt.Errorf("close inherited descriptors: %w", err)
	}
	c, err := readConfig()
	if err != nil {
		return err
	}
	var marks *timeline.Marks
	if c.Timeline {
		marks = &timeline.Marks{{Name: "init: begins", At: begun}}
	}
	marks.Add("init: has its configuration")
	if err := c.joinCgroup(); err != nil {
		return err
	}
	unix.Umask(0)
	if c.Moves() && !c.Moved {
		return c.move()
	}
	if err := joinKeyring(); err != nil {
		return err
	}
	if err := c.surround(); err != nil {
		return err
	}
	marks.Add("init: has built the sandbox")
	cwd, err := c.openCwd()
	if err != nil {
		return err
	}
	// The limits come before the user, who may not raise them, and after the
	// last file that is opened, since one of them is on open files.
	if err := c.setLimits(); err != nil {
		return err
	}
	if err := c.becomeUser(cwd); err != nil {
		return err
	}
	marks.Add("init: becomes the runner")
	c.Env = append(c.Env, marks.Environment()...)
	return c.execute()
}

// surround puts the process into its namespaces and its root: new ones or those
// of an existing container. The host's /proc is gone after it.
func (c *Config) surround() error {
	if c.Moved && c.Terminal {
		if err := unix.IoctlSetInt(0, unix.TIOCSCTTY, 0); err != nil {
			return fmt.Errorf("process.terminal: make it the controlling terminal: %w", err)
		}
	}
	if c.Enter {
		if err := c.writeProc(); err != nil {
			return err
		}
		if err := c.writeLabels(); err != nil || c.Moved {
			return err
		}
		return enterContainer()
	}
	if err := c.enterNamespaces(); err != nil {
		return err
	}
	if err := c.writeProc(); err != nil {
		return err
	}
	return c.buildRoot()
}

// readConfig reads up to EOF, which comes when the process is in its cgroup, or
// can join it.
func readConfig() (*Config, error) {
	var b []byte
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(control.ConfigFD, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the sandbox configuration: %w", err)
		}
		if n == 0 {
			break
		}
		b = append(b, buf[:n]...)
	}
	c := new(Config)
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("read the sandbox configuration: %w", err)
	}
	return c, nil
}

// passed says which descriptors the program gets.
func passed(fd int) bool {
	switch fd {
	case 0, 1, 2, control.SocketFD, control.WorkloadFD, control.ModuleFD, control.CacheFD:
		return true
	}
	return false
}

// inherited are the descriptors beside stdio that the program gets.
func inherited() (fds []int) {
	for fd := 3; fd <= control.ContainerFD; fd++ {
		if passed(fd) {
			fds = append(fds, fd)
		}
	}
	return fds
}

// closeOnExec marks every other descriptor that was inherited. A leaked one
// could lead the container to the host (CVE-2024-21626). Those that the init
// opens itself are marked from birth.
func closeOnExec() error {
	const last = control.CacheFD
	for fd := range last {
		if !passed(fd) {
			unix.CloseOnExec(fd)
		}
	}
	err := unix.CloseRange(last+1, ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC)
	if err != unix.ENOSYS && err != unix.EINVAL {
		return err
	}
	// Before Linux 5.11.
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > last {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// joinKeyring leaves the session keyring of the shim behind, whose keys the
// container could otherwise use.
func joinKeyring() error {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	switch err {
	case nil, unix.ENOSYS, unix.EPERM:
		// No keyrings in this kernel, or a seccomp filter around containerd
		// that keeps everybody from them.
		return nil
	case unix.EDQUOT:
		return control.Errorf(control.Unavailable, "the node has no room for another session keyring (%w); raise the sysctl kernel.keys.root_maxkeys", err)
	}
	return fmt.Errorf("join a new session keyring: %w", err)
}

// execute replaces the init by the program.
func (c *Config) execute() error {
	argv, err := cStrings(c.Argv)
	if err != nil {
		return invalid("process.args: %v", err)
	}
	env, err := cStrings(c.Env)
	if err != nil {
		return fmt.Errorf("environment of the program: %w", err)
	}
	empty := [1]byte{}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, control.ProgramFD,
		uintptr(unsafe.Pointer(&empty[0])), uintptr(unsafe.Pointer(&argv[0])),
		uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	return fmt.Errorf("execute the runner: %w", errno)
}

// cStrings makes the array of pointers that execve(2) takes.
func cStrings(ss []string) ([]*byte, error) {
	ps := make([]*byte, len(ss)+1)
	for i, s := range ss {
		p, err := unix.BytePtrFromString(s)
		if err != nil {
			return nil, fmt.Errorf("%q holds a NUL byte", s)
		}
		ps[i] = p
	}
	return ps, nil
}

// descriptor reads and writes without the poller of package os, which would open
// descriptors of its own.
type descriptor int

func (d descriptor) Write(b []byte) (int, error) {
	for done := 0; ; {
		n, err := unix.Write(int(d), b[done:])
		if n > 0 {
			done += n
		}
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return done, err
		case done == len(b):
			return done, nil
		}
	}
}

func (d descriptor) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(d), b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// magic is the path that leads to an open descriptor, in the host's /proc,
// which is there until pivot_root.
func magic(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
