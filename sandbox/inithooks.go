package sandbox

import (
	"fmt"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// runHooks lets the caller run its hooks and then runs those of
// hooks.createContainer, each as a child of this thread, whose namespaces it
// shares.
func (r *root) runHooks() error {
	h := r.config.Hooks
	if h == nil {
		return nil
	}
	if h.Await {
		if err := control.SendReady(descriptor(control.SocketFD), nil); err != nil {
			return fmt.Errorf("wait for the hooks of the runtime: %w", err)
		}
	}
	if len(h.CreateContainer) == 0 {
		return nil
	}
	// What the program is to inherit is none of a hook's business.
	for _, fd := range inherited() {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err == nil {
			defer unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
		}
	}
	defer unix.Umask(unix.Umask(0o022))
	state := h.State
	state.Pid, state.Status = unix.Getpid(), specs.StateCreating
	for i := range h.CreateContainer {
		if err := r.runHook(fmt.Sprintf("hooks.createContainer[%d]", i), &h.CreateContainer[i], state); err != nil {
			return err
		}
	}
	return nil
}

// runHook is that of the shim without goroutines and without package os/exec,
// which the runner does not link.
func (r *root) runHook(at string, h *specs.Hook, state specs.State) error {
	stdin, err := stateFile(state)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	defer stdin.Close()
	var output [2]int
	if err := unix.Pipe2(output[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("%s: make a pipe for its output: %w", at, err)
	}
	defer unix.Close(output[0])
	pid, err := syscall.ForkExec(h.Path, hookArgv(h), &syscall.ProcAttr{
		// By descriptor: the path may be closed to a user namespace.
		Dir: magic(r.fd), Env: hookEnv(h),
		Files: []uintptr{stdin.Fd(), uintptr(output[1]), uintptr(output[1])},
		// The shim kills the init and knows nothing of its children, which
		// outlive it where the pid namespace is shared.
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	unix.Close(output[1])
	if err != nil {
		return hookNotStarted(at, h, err)
	}
	end := follow(pid, output[0], hookTimeout(h))
	return end.failure(at, h)
}

// follow reads what a child prints until it ends or its time is over, and reaps
// it. A timeout of 0 is none.
func follow(pid, output int, timeout time.Duration) (end hookEnd) {
	if end.killed = watch(pid, output, timeout, &end.tail); end.killed != nil {
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	var ws unix.WaitStatus
	for {
		_, end.err = unix.Wait4(pid, &ws, 0, nil)
		if end.err != unix.EINTR {
			break
		}
	}
	end.status = waitStatus(syscall.WaitStatus(ws))
	return end
}

// watch returns nil when the child has ended, or why it is to be killed.
func watch(pid, output int, timeout time.Duration, t *tail) error {
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open a handle of it: %w", err)
	}
	defer unix.Close(handle)
	deadline := time.Now().Add(timeout)
	buf := make([]byte, 4<<10)
	// A child's child may hold the pipe and print for ever: that the child has
	// ended counts more, once as much was read as a pipe holds.
	for left := 16; left > 0; {
		wait := -1
		if timeout > 0 {
			wait = int(max(0, time.Until(deadline)).Milliseconds())
		}
		fds := []unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}, {Fd: int32(output), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, wait)
		ended := fds[0].Revents != 0
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("wait for it: %w", err)
		case n == 0 || timeout > 0 && !ended && time.Now().After(deadline):
			return errHookTimeout
		case fds[1].Revents&unix.POLLIN != 0:
			if n, _ := unix.Read(output, buf); n > 0 {
				t.add(buf[:n])
			}
			if ended {
				left--
			}
		case ended:
			return nil
		default:
			output = -1 // hung up; poll passes over it
		}
	}
	return nil
}
