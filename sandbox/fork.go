package sandbox

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is a system call that a forked child makes.
type call struct {
	// what it does, for messages.
	what string
	nr   uintptr
	args [5]uintptr
	// memory is what an argument points to, which is 0 then.
	memory [5]unsafe.Pointer
	// onResult puts the result of the call before into the first argument.
	onResult bool
}

// fork is two forks in a row, for what only a process of one thread may do, and
// what takes effect only for its children: to enter a user or a time namespace,
// and then to give birth in new ones that the user namespace owns. A Go process
// has several threads, a child that it forks has one.
//
// No code of the Go runtime may run in such a child: locks may be held by
// threads that are not there. So what it does is prepared, a list of calls.
type fork struct {
	// first are made by the first child, which ends after it has forked.
	first []call
	// flags are those of clone(2) for the second child.
	flags uintptr
	// then are made by the second child; the last is its execve(2).
	then []call

	// report is the write end of a pipe.
	report  uintptr
	message message
}

// message is what the children write into the pipe.
type message struct {
	// step counts the failed call, over first and then; -1 is the second fork,
	// -2 says that this one succeeded and value is the pid.
	step, value int64
}

const (
	stepFork = -1
	stepPid  = -2
)

// run returns the pid of the second child, which is executing by then. Both are
// children of this process's parent, who reaps them.
func (f *fork) run() (int, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("make a pipe for a fork: %w", err)
	}
	defer unix.Close(p[0])
	f.report = uintptr(p[1])
	restore, err := blockSignals()
	if err != nil {
		unix.Close(p[1])
		return 0, err
	}
	// With the handlers of this process a signal would run Go code in a child.
	last := len(f.then) - 1
	f.then = append(f.then[:last:last], restore.call(), f.then[last])
	errno := f.fork()
	restore.now()
	unix.Close(p[1])
	if errno != 0 {
		return 0, fmt.Errorf("fork: %w", errno)
	}
	// Up to EOF: when both have ended or executed something.
	pid := 0
	for {
		var m message
		n, err := unix.Read(p[0], unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m)))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("read how a fork went: %w", err)
		case n == 0 && pid == 0:
			return 0, fmt.Errorf("fork: the child was killed")
		case n == 0:
			return pid, nil
		case m.step == stepPid:
			pid = int(m.value)
		case m.step == stepFork:
			return 0, fmt.Errorf("fork into the namespaces: %w", unix.Errno(m.value))
		default:
			c := append(f.first, f.then...)[m.step]
			return 0, fmt.Errorf("%s: %w", c.what, unix.Errno(m.value))
		}
	}
}

// fork returns in the parent alone. CLONE_PARENT, since whoever spawned this
// process waits for its children and not for its grandchildren.
//
//go:norace
//go:nosplit
func (f *fork) fork() unix.Errno {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT, 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return errno
	}
	if f.make(f.first, 0) {
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|f.flags, 0, 0, 0, 0, 0)
		switch {
		case errno != 0:
			f.say(stepFork, int64(errno))
		case pid != 0:
			f.say(stepPid, int64(pid))
		default:
			f.make(f.then, int64(len(f.first)))
		}
	}
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
	}
}

//go:norace
//go:nosplit
func (f *fork) make(calls []call, step int64) bool {
	var result uintptr
	for i := range calls {
		c := &calls[i]
		if c.onResult {
			c.args[0] = result
		}
		var errno unix.Errno
		result, _, errno = syscall.RawSyscall6(c.nr,
			c.args[0]|uintptr(c.memory[0]), c.args[1]|uintptr(c.memory[1]), c.args[2]|uintptr(c.memory[2]),
			c.args[3]|uintptr(c.memory[3]), c.args[4]|uintptr(c.memory[4]), 0)
		if errno != 0 {
			f.say(step+int64(i), int64(errno))
			return false
		}
	}
	return true
}

//go:norace
//go:nosplit
func (f *fork) say(step, value int64) {
	f.message = message{step, value}
	syscall.RawSyscall(unix.SYS_WRITE, f.report, uintptr(unsafe.Pointer(&f.message)), unsafe.Sizeof(f.message))
}

// signalMask is one to go back to.
type signalMask struct{ set unix.Sigset_t }

// blockSignals blocks them for this thread.
func blockSignals() (*signalMask, error) {
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	old := new(signalMask)
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old.set); err != nil {
		return nil, fmt.Errorf("block signals: %w", err)
	}
	return old, nil
}

func (m *signalMask) now() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &m.set, nil) }

func (m *signalMask) call() call {
	return call{what: "unblock signals", nr: unix.SYS_RT_SIGPROCMASK,
		args: [5]uintptr{unix.SIG_SETMASK, 0, 0, 8}, memory: [5]unsafe.Pointer{1: unsafe.Pointer(&m.set)}}
}

// newUserNamespace makes one with these mappings and returns a descriptor of
// it. A child holds it until then.
func newUserNamespace(ids *IDMaps) (int, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, fmt.Errorf("make a pipe for a user namespace: %w", err)
	}
	restore, err := blockSignals()
	if err != nil {
		return -1, err
	}
	pid, errno := holdUserNamespace(p[0], p[1])
	restore.now()
	unix.Close(p[0])
	if errno != 0 {
		unix.Close(p[1])
		if errno == unix.ENOSPC || errno == unix.EUSERS {
			return -1, blame(errno, "make a user namespace: the node allows no more of them; raise the sysctl user.max_user_namespaces: %w")
		}
		return -1, fmt.Errorf("make a user namespace: %w", errno)
	}
	defer func() {
		unix.Close(p[1])
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
				return
			}
		}
	}()
	dir := fmt.Sprintf("/proc/%d/", pid)
	if err := writeFile(dir+"uid_map", formatIDMap(ids.UIDs)); err != nil {
		return -1, invalid("map the user ids %v: %w", ids.UIDs, err)
	}
	if err := writeFile(dir+"gid_map", formatIDMap(ids.GIDs)); err != nil {
		return -1, invalid("map the group ids %v: %w", ids.GIDs, err)
	}
	fd, err := unix.Open(dir+"ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a new user namespace: %w", err)
	}
	return fd, nil
}

// holdUserNamespace forks a child in a new user namespace that ends when the
// pipe does.
//
//go:norace
//go:nosplit
func holdUserNamespace(read, write int) (int, unix.Errno) {
	var b [1]byte
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	syscall.RawSyscall(unix.SYS_CLOSE, uintptr(write), 0, 0)
	syscall.RawSyscall(unix.SYS_READ, uintptr(read), uintptr(unsafe.Pointer(&b[0])), 1)
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}
