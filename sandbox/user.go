package sandbox

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// setLimits sets what does not depend on the user.
func (c *Config) setLimits() error {
	if !c.Moved {
		if err := c.Scheduling.apply(); err != nil {
			return err
		}
	}
	for _, l := range c.Rlimits {
		if err := setLimit(l, unix.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return err
		}
	}
	if c.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("process.noNewPrivileges: %w", err)
		}
	}
	return nil
}

// raiseLimits raises the hard limits that the container's root may not raise in a
// user namespace; setLimits sets what the spec asks.
func (c *Config) raiseLimits() error {
	for _, l := range c.Rlimits {
		var have unix.Rlimit
		if err := unix.Prlimit(0, l.Resource, nil, &have); err != nil {
			return fmt.Errorf("process.rlimits: read %s: %w", l.Name, err)
		}
		if l.Hard <= have.Max {
			continue
		}
		have.Max = l.Hard
		if err := setLimit(l, have); err != nil {
			return err
		}
	}
	return nil
}

func setLimit(l Rlimit, to unix.Rlimit) error {
	err := unix.Prlimit(0, l.Resource, &to, nil)
	if err == unix.EPERM {
		return invalid("process.rlimits: %s cannot be raised to %d, because containerd's own hard limit is lower and it lacks CAP_SYS_RESOURCE; lower it or raise containerd's limit", l.Name, l.Hard)
	}
	if err != nil {
		return invalid("process.rlimits: set %s to %d:%d: %w", l.Name, l.Soft, l.Hard, err)
	}
	return nil
}

// openCwd opens the working directory now that everything is mounted and
// masked, by a lookup that follows no magic link: /proc/self/fd/8 would lead to
// the host's cache of compiled code (CVE-2024-21626).
func (c *Config) openCwd() (int, error) {
	top, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open the container's root: %w", err)
	}
	defer unix.Close(top)
	cwd, err := tree{fd: top, host: "/"}.open(c.Cwd, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, blame(err, "process.cwd: enter %s: %w", c.Cwd)
	}
	return cwd, nil
}

// becomeUser enters the working directory and gives up every privilege that the
// spec does not grant, in the one order that works: the bounding set needs
// CAP_SETPCAP, the directory may need the privileges of either user, and the
// sets can only shrink.
func (c *Config) becomeUser(cwd int) error {
	entered := unix.Fchdir(cwd)
	want, err := c.Capabilities.available()
	if err != nil {
		return err
	}
	if err := want.dropBounding(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	if err := c.setIDs(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("stop keeping capabilities: %w", err)
	}
	if entered != nil {
		// A network file system may let in the user, but not root.
		if err := unix.Fchdir(cwd); err != nil {
			return invalid("process.cwd: enter %s as user %d: %w", c.Cwd, c.UID, err)
		}
	}
	if err := checkCwd(); err != nil {
		return err
	}
	unix.Umask(int(c.Umask))
	// Without no_new_privs only CAP_SYS_ADMIN may load a filter, which then has
	// to let the rest pass; FromSpec has made sure. The same is true of Landlock,
	// which comes first because the filter may know nothing of it.
	if err := raiseAll(); err != nil {
		return err
	}
	if err := c.enterLandlock(); err != nil {
		return err
	}
	switch {
	case c.Seccomp == nil:
		return want.apply()
	case c.NoNewPrivileges:
		if err := want.apply(); err != nil {
			return err
		}
		return c.loadSeccomp()
	}
	if err := c.loadSeccomp(); err != nil {
		return err
	}
	return want.apply()
}

// raiseAll makes effective again what is permitted still: to become another
// user cleared it.
func raiseAll() error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&h, &sets[0]); err != nil {
		return fmt.Errorf("read the capabilities of the init: %w", err)
	}
	for i := range sets {
		sets[i].Effective = sets[i].Permitted
	}
	if err := unix.Capset(&h, &sets[0]); err != nil {
		return fmt.Errorf("raise the capabilities of the init: %w", err)
	}
	return nil
}

// checkCwd makes sure that the working directory is beneath the root: the
// kernel gives one that is not a name that is not absolute.
func checkCwd() error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil {
		return fmt.Errorf("process.cwd: %w", err)
	}
	if !strings.HasPrefix(string(buf[:n]), "/") {
		return control.Errorf(control.InvalidArgument, "process.cwd is outside of the container's root; correct it")
	}
	return nil
}

// With 32-bit words these system calls would take ids of 16 bits, and cut off
// the rest: 65536 would be root.
const _ uint = 1 << 63

// setIDs uses raw system calls, since those of package syscall change every
// thread, one after the other.
func (c *Config) setIDs() error {
	var groups unsafe.Pointer
	if len(c.Groups) > 0 {
		groups = unsafe.Pointer(&c.Groups[0])
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(c.Groups)), uintptr(groups), 0); e != 0 && !(e == unix.EPERM && c.Moved && len(c.Groups) == 0) {
		// A user namespace may deny the call, see user_namespaces(7); the groups
		// of the host were left before it was entered.
		return invalid("process.user.additionalGids: set %v: %w", c.Groups, e)
	}
	gid, uid := uintptr(c.GID), uintptr(c.UID)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); e != 0 {
		return invalid("process.user.gid: become group %d: %w", c.GID, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); e != 0 {
		return invalid("process.user.uid: become user %d: %w", c.UID, e)
	}
	return nil
}

// available leaves out what this process cannot give, which FromSpec has warned
// about.
func (want Capabilities) available() (Capabilities, error) {
	var have [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &have[0]); err != nil {
		return want, fmt.Errorf("read the capabilities of the init: %w", err)
	}
	permitted := uint64(have[1].Permitted)<<32 | uint64(have[0].Permitted)
	want.Bounding &= permitted
	want.Permitted &= permitted
	want.Inheritable &= permitted
	return want.consistent(), nil
}

func (want Capabilities) dropBounding() error {
	for n := range 64 {
		if want.Bounding&(1<<n) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0)
		if err == unix.EINVAL {
			return nil // past the last capability of this kernel
		}
		if err != nil {
			return fmt.Errorf("process.capabilities.bounding: drop capability %d: %w", n, err)
		}
	}
	return nil
}

func (want Capabilities) apply() error {
	sets := [2]unix.CapUserData{
		{Effective: uint32(want.Effective), Permitted: uint32(want.Permitted), Inheritable: uint32(want.Inheritable)},
		{Effective: uint32(want.Effective >> 32), Permitted: uint32(want.Permitted >> 32), Inheritable: uint32(want.Inheritable >> 32)},
	}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0]); err != nil {
		return fmt.Errorf("process.capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("process.capabilities.ambient: %w", err)
	}
	for n := range 64 {
		if want.Ambient&(1<<n) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0); err != nil {
			return fmt.Errorf("process.capabilities.ambient: raise %s: %w", capabilityNames[n], err)
		}
	}
	return nil
}
