package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Command describes how to fork the init: runner is the path of wasm-runner on
// the host, extra become descriptors 3 and up in order. A nil entry of stdio is
// /dev/null; a nil entry of extra leaves that descriptor closed, and one that
// the program shall not find is best simply not passed. Only what is at the
// numbers of package control reaches the program.
//
// The command must be started by way of Start. Its SysProcAttr may be completed
// by the caller, for example with UseCgroupFD.
func (c *Config) Command(runner string, stdio [3]*os.File, extra []*os.File) *exec.Cmd {
	if c.Tasks > 0 {
		extra = append(extra, make([]*os.File, control.TasksFD-3-len(extra))...)
		extra = append(extra, c.tasks...)
	}
	cmd := &exec.Cmd{
		Path:       runner,
		Args:       []string{runner, "init"},
		Env:        initEnv(),
		ExtraFiles: extra,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: c.CloneFlags,
			Setsid:     true,
			Setctty:    c.Terminal, // Ctty is 0, stdin
		},
	}
	if c.Moves() {
		// Both belong to the process as which the init goes on.
		cmd.SysProcAttr.Cloneflags, cmd.SysProcAttr.Setctty = 0, false
	}
	// A nil *os.File in an interface is not nil, and would be a closed stdio.
	if stdio[0] != nil {
		cmd.Stdin = stdio[0]
	}
	if stdio[1] != nil {
		cmd.Stdout = stdio[1]
	}
	if stdio[2] != nil {
		cmd.Stderr = stdio[2]
	}
	return cmd
}

// initEnv is for the Go runtime of the init, and gone with its execve: its heap
// is too small to collect, and it has work for one thread.
func initEnv() []string { return []string{"GOGC=off", "GOMAXPROCS=1"} }

// Start calls start, which starts the command, such that the child is born in
// the spec's pid namespace where the spec names one. start must fork in the
// goroutine that calls it, as exec.Cmd.Start does. Start itself is to be called by
// way of osthread.Run, which gets clean. The error is that of start, or of class
// NotFound or InvalidArgument when the namespace cannot be entered.
func (c *Config) Start(start func() error) (clean bool, err error) {
	if c.PidPath == "" && c.container == nil || c.Moves() {
		return true, start()
	}
	own, err := unix.Open("/proc/thread-self/ns/pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return true, fmt.Errorf("open our own pid namespace: %w", err)
	}
	defer unix.Close(own)
	if err := c.enterPidNamespace(); err != nil {
		return true, err
	}
	err = start()
	return unix.Setns(own, unix.CLONE_NEWPID) == nil, err
}

// enterPidNamespace moves the future children of this thread.
func (c *Config) enterPidNamespace() error {
	if c.container != nil {
		if err := unix.Setns(int(c.container.Fd()), unix.CLONE_NEWPID); err != nil {
			return control.Errorf(control.NotFound, "enter the container's pid namespace: %w; is it still running?", err)
		}
		return nil
	}
	target, err := unix.Open(c.PidPath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return control.Errorf(control.NotFound, "linux.namespaces: open the pid namespace %s: %w; is its container still running?", c.PidPath, err)
	}
	defer unix.Close(target)
	if err := unix.Setns(target, unix.CLONE_NEWPID); err != nil {
		return control.Errorf(control.InvalidArgument, "linux.namespaces: enter the pid namespace %s: %w", c.PidPath, err)
	}
	return nil
}

// OpenProgram opens the program that containers become, such that none of them
// can write to the host's file through /proc/<pid>/exe (CVE-2019-5736): the
// file is opened by way of a private, read-only clone of its mount, which stays
// read-only for everybody who reaches the file through this descriptor. On
// kernels before 5.12, which cannot do that, it is a plain open for reading.
// The path may be a symlink.
func OpenProgram(path string) (*os.File, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	switch err {
	case nil:
	case unix.ENOSYS, unix.EPERM, unix.EINVAL:
		// EPERM without CAP_SYS_ADMIN, EINVAL on an unbindable mount.
		return os.Open(path)
	default:
		return nil, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}
	switch err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err {
	case nil:
	case unix.ENOSYS:
		return os.Open(path)
	default:
		return nil, &os.PathError{Op: "mount_setattr", Path: path, Err: err}
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(tree), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
