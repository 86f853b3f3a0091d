package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// move does with the host's privileges what needs them, and then lets the init
// go on as another process, born in the container's namespaces:
//
//   - this process opens the root file system, volumes and namespaces, which the
//     container's root may not be able to reach, and id-maps mounts;
//   - a first child of one thread enters the user and the time namespace and
//     becomes root there;
//   - a second one, born in the new namespaces, executes the init again, which
//     attaches what was opened.
//
// It does not return when it succeeds.
func (c *Config) move() error {
	if err := c.writeOOMScore(); err != nil {
		return err
	}
	if err := c.raiseLimits(); err != nil {
		return err
	}
	if err := c.Scheduling.apply(); err != nil {
		return err
	}
	f := new(fork)
	var keep []int
	var err error
	if c.Enter {
		f.first, keep, err = c.enterCalls()
	} else {
		f.first, keep, err = c.ownCalls()
		f.flags = c.CloneFlags
	}
	if err != nil {
		return err
	}
	var config [2]int
	if err := unix.Pipe2(config[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make a configuration pipe: %w", err)
	}
	if err := unix.Dup3(config[0], control.ConfigFD, 0); err != nil {
		return fmt.Errorf("pass the configuration on: %w", err)
	}
	unix.Close(config[0])
	for _, fd := range append(keep, control.ProgramFD) {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("pass a descriptor on: %w", err)
		}
	}
	executable := control.ProgramFD
	if c.Foreign {
		executable = control.InitFD
	}
	if f.then, err = initCalls(executable); err != nil {
		return err
	}
	pid, err := f.run()
	if err != nil {
		return c.entryError(err)
	}
	if err := c.checkJoined(pid); err != nil {
		return err // without its configuration the child ends
	}
	if err := control.SendPid(descriptor(control.SocketFD), pid); err != nil {
		return fmt.Errorf("wait for leave to go on as another process: %w", err)
	}
	c.Moved = true
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("marshal the sandbox configuration: %w", err)
	}
	// One that died meanwhile is found by its missing report.
	if _, err := descriptor(config[1]).Write(b); err != nil && err != unix.EPIPE {
		return fmt.Errorf("pass the configuration on: %w", err)
	}
	os.Exit(0)
	return nil
}

// ownCalls prepares a first child for the container's init.
func (c *Config) ownCalls() (calls []call, keep []int, err error) {
	if err := c.joinNamespaces(); err != nil {
		return nil, nil, err
	}
	// Groups of the host's root, which setgroups(2) may not touch any more in a
	// user namespace that denies it.
	calls = []call{{what: "leave the host's groups", nr: unix.SYS_SETGROUPS}}
	enter := func(fd int, flag uintptr, what string) {
		calls = append(calls, call{what: what, nr: unix.SYS_SETNS, args: [5]uintptr{uintptr(fd), flag}})
	}
	if c.PidPath != "" {
		fd, err := openNamespace("pid", c.PidPath)
		if err != nil {
			return nil, nil, err
		}
		enter(fd, unix.CLONE_NEWPID, "linux.namespaces: enter the pid namespace "+c.PidPath)
	}
	if c.Time != nil && c.Time.Path != "" {
		fd, err := openNamespace("time", c.Time.Path)
		if err != nil {
			return nil, nil, err
		}
		enter(fd, unix.CLONE_NEWTIME, "linux.namespaces: enter the time namespace "+c.Time.Path)
	}
	user := -1
	if c.User != nil {
		if user, err = c.User.open(); err != nil {
			return nil, nil, err
		}
		enter(user, unix.CLONE_NEWUSER, "linux.namespaces: enter the user namespace "+c.User.Path)
	}
	if c.Time != nil && c.Time.Path == "" {
		timeCalls, err := newTimeNamespace(c.Time.Offsets)
		if err != nil {
			return nil, nil, err
		}
		calls = append(calls, timeCalls...)
	}
	if c.User != nil {
		calls = append(calls, becomeRoot()...)
	}
	keep, err = c.openMounts(user)
	return calls, keep, err
}

// openMounts opens, with the host's privileges and id-mapped where the spec
// wants it, what buildRoot attaches. The working directory becomes the place of
// the root file system: it stays that in the mount namespace of the child, to
// whom the path may be closed.
func (c *Config) openMounts(user int) (keep []int, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("make a mount namespace: %w", err)
	}
	if c.RootFD, err = c.openRoot(); err != nil {
		return nil, err
	}
	keep = append(keep, c.RootFD)
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if !m.Bind {
			continue
		}
		if m.FD, err = m.open(user); err != nil {
			return nil, m.blame(err)
		}
		keep = append(keep, m.FD)
	}
	return keep, nil
}

// enterCalls prepares a first child for a further process. In one call: the
// kernel takes the others by the right of the user namespace.
func (c *Config) enterCalls() (calls []call, keep []int, err error) {
	flags := uintptr(containerNamespaces | unix.CLONE_NEWPID)
	if c.User != nil {
		flags |= unix.CLONE_NEWUSER
	}
	if c.Time != nil {
		flags |= unix.CLONE_NEWTIME
	}
	calls = []call{
		{what: "leave the host's groups", nr: unix.SYS_SETGROUPS},
		{what: "enter the container's namespaces", nr: unix.SYS_SETNS, args: [5]uintptr{control.ContainerFD, flags}},
	}
	if c.User != nil {
		calls = append(calls, becomeRoot()...)
	}
	if c.AppArmorProfile != "" || c.SELinuxLabel != "" {
		// The container's own /proc is not to be trusted with them.
		if c.ProcFD, err = unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return nil, nil, fmt.Errorf("open the host's /proc: %w", err)
		}
		keep = append(keep, c.ProcFD)
	}
	return calls, keep, nil
}

// becomeRoot makes the host's root that of the user namespace, who keeps all
// capabilities in it over the execve.
func becomeRoot() []call {
	return []call{
		{what: "become the container's root group", nr: unix.SYS_SETRESGID},
		{what: "become the container's root", nr: unix.SYS_SETRESUID},
	}
}

// newTimeNamespace must come before the change of the user, to whom the file of
// an undumpable process is closed, and before the first child is born.
func newTimeNamespace(offsets string) ([]call, error) {
	calls := []call{{what: "make a time namespace", nr: unix.SYS_UNSHARE, args: [5]uintptr{unix.CLONE_NEWTIME}}}
	if offsets == "" {
		return calls, nil
	}
	path, err := unix.BytePtrFromString("/proc/self/timens_offsets")
	if err != nil {
		return nil, err
	}
	at := unix.AT_FDCWD
	return append(calls,
		call{what: "linux.timeOffsets: open /proc/self/timens_offsets", nr: unix.SYS_OPENAT,
			args: [5]uintptr{uintptr(at), 0, unix.O_WRONLY | unix.O_CLOEXEC}, memory: [5]unsafe.Pointer{1: unsafe.Pointer(path)}},
		call{what: "linux.timeOffsets: set " + strings.ReplaceAll(strings.TrimSpace(offsets), "\n", ", "), nr: unix.SYS_WRITE, onResult: true,
			args: [5]uintptr{2: uintptr(len(offsets))}, memory: [5]unsafe.Pointer{1: unsafe.Pointer(unsafe.StringData(offsets))}},
	), nil
}

// initCalls makes a child a session leader, as Command does, and the init, of
// which the executable is open.
func initCalls(executable int) ([]call, error) {
	argv, err := cStrings([]string{os.Args[0], "init"})
	if err != nil {
		return nil, err
	}
	env, err := cStrings(initEnv())
	if err != nil {
		return nil, err
	}
	return []call{
		{what: "make a session", nr: unix.SYS_SETSID},
		{what: "execute the init as the container's root; is the runner's file executable for everybody?", nr: unix.SYS_EXECVEAT,
			args:   [5]uintptr{0: uintptr(executable), 4: unix.AT_EMPTY_PATH},
			memory: [5]unsafe.Pointer{1: unsafe.Pointer(new(byte)), 2: unsafe.Pointer(&argv[0]), 3: unsafe.Pointer(&env[0])}},
	}, nil
}

// open returns a descriptor of the user namespace.
func (u *UserNamespace) open() (int, error) {
	if u.Path != "" {
		return openNamespace("user", u.Path)
	}
	return newUserNamespace(u.IDs)
}

// checkJoined compares the mappings that the spec gives for an existing user
// namespace with those that it has: others would give files to the wrong users.
func (c *Config) checkJoined(pid int) error {
	if c.User == nil || c.User.Path == "" || c.User.IDs == nil {
		return nil
	}
	uids, err1 := readFile(fmt.Sprintf("/proc/%d/uid_map", pid))
	gids, err2 := readFile(fmt.Sprintf("/proc/%d/gid_map", pid))
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("read the mappings of the user namespace %s: %w", c.User.Path, err)
	}
	if !sameIDMap(c.User.IDs.UIDs, uids) || !sameIDMap(c.User.IDs.GIDs, gids) {
		return invalid("linux.uidMappings and linux.gidMappings are not those of the user namespace %s; correct or remove them", c.User.Path)
	}
	return nil
}

// entryError gives a failed fork its class.
func (c *Config) entryError(err error) error {
	switch {
	case c.Enter && errors.Is(err, unix.ESRCH):
		return errContainerEnded()
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOMEM):
		return control.Errorf(control.Unavailable, "%w; the node or the container's limits allow no more namespaces or processes", err)
	case strings.HasPrefix(err.Error(), "linux."):
		return invalid("%w", err)
	}
	return err
}
