package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Starter starts a command and returns what waits for its end: the exit code, or
// 128 and the number of the signal that ended it. A process that reaps all its
// children in one place gives its own; nil is that of os/exec.
type Starter func(*exec.Cmd) (wait func() (status int, err error), err error)

// RunHooks runs the hooks of one list, such as hooks.createRuntime, which is
// field, in order and in the namespaces of the calling thread, until one fails.
// Each gets the state as JSON on stdin and runs in the bundle's directory; it is
// killed with its process group when its timeout is over or ctx is done.
//
// Errors are of class NotFound when a program does not exist, and otherwise of
// class Internal, with the end of what the hook printed.
func RunHooks(ctx context.Context, start Starter, field string, hooks []specs.Hook, state specs.State) error {
	for i := range hooks {
		if err := runHook(ctx, start, fmt.Sprintf("%s[%d]", field, i), &hooks[i], state); err != nil {
			return err
		}
	}
	return nil
}

// RunEveryHook is RunHooks for hooks.poststop: it goes on after a failure, as the
// specification wants it, and returns all of them.
func RunEveryHook(ctx context.Context, start Starter, field string, hooks []specs.Hook, state specs.State) error {
	var errs []error
	for i := range hooks {
		errs = append(errs, runHook(ctx, start, fmt.Sprintf("%s[%d]", field, i), &hooks[i], state))
	}
	return errors.Join(errs...)
}

func runHook(ctx context.Context, start Starter, at string, h *specs.Hook, state specs.State) error {
	if start == nil {
		start = startCommand
	}
	if t := hookTimeout(h); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t, errHookTimeout)
		defer cancel()
	}
	stdin, err := stateFile(state)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	defer stdin.Close()
	output, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("%s: make a pipe for its output: %w", at, err)
	}
	defer output.Close()
	cmd := &exec.Cmd{
		Path: h.Path, Args: hookArgv(h), Env: hookEnv(h), Dir: state.Bundle,
		Stdin: stdin, Stdout: w, Stderr: w,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	wait, err := start(cmd)
	w.Close()
	if err != nil {
		return hookNotStarted(at, h, err)
	}
	printed := make(chan tail, 1)
	go func() { printed <- readTail(output) }()
	ended := make(chan hookEnd, 1)
	go func() {
		status, err := wait()
		ended <- hookEnd{status: status, err: err}
	}()
	var end hookEnd
	select {
	case end = <-ended:
	case <-ctx.Done():
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		end = <-ended
		end.killed = context.Cause(ctx)
	}
	// Whoever the hook has left behind may keep the pipe open for ever.
	_ = output.SetReadDeadline(time.Unix(1, 0))
	end.tail = <-printed
	drain(output, &end.tail)
	return end.failure(at, h)
}

// hookEnd is how a hook ended.
type hookEnd struct {
	status int
	err    error
	// killed says why the hook did not end by itself.
	killed error
	tail   tail
}

var errHookTimeout = errors.New("its timeout is over")

func (e *hookEnd) failure(at string, h *specs.Hook) error {
	what := ""
	switch {
	case errors.Is(e.killed, errHookTimeout):
		what = fmt.Sprintf("it took longer than its timeout of %v and was killed", hookTimeout(h))
	case e.killed != nil:
		what = fmt.Sprintf("it was killed: %v", e.killed)
	case e.err != nil:
		what = fmt.Sprintf("its end was not seen: %v", e.err)
	case e.status != 0:
		what = fmt.Sprintf("it ended with status %d", e.status)
	default:
		return nil
	}
	printed := strings.TrimSpace(string(e.tail.kept))
	switch {
	case printed == "":
		printed = " and printed nothing"
	case e.tail.cut:
		printed = ": …" + printed
	default:
		printed = ": " + printed
	}
	return control.Errorf(control.Internal, "%s (%s) failed: %s%s", at, h.Path, what, printed)
}

func hookNotStarted(at string, h *specs.Hook, err error) error {
	class := control.Internal
	if errors.Is(err, unix.ENOENT) {
		class = control.NotFound
	}
	return control.Errorf(class, "%s: start %s: %w; install it on the node, or remove the hook or whatever injects it", at, h.Path, err)
}

func startCommand(cmd *exec.Cmd) (func() (int, error), error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() (int, error) {
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return waitStatus(exit.Sys().(syscall.WaitStatus)), nil
		}
		return 0, err
	}, nil
}

func waitStatus(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// stateFile returns an anonymous file with the state, to be read from its
// start: unlike a pipe it needs nobody who writes, and a hook need not read it.
func stateFile(state specs.State) (*os.File, error) {
	b, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("marshal the container's state: %w", err)
	}
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file for the container's state: %w", err)
	}
	if _, err := unix.Pwrite(fd, b, 0); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("write the container's state: %w", err)
	}
	return os.NewFile(uintptr(fd), "state"), nil
}

// readTail reads up to EOF or the read deadline.
func readTail(r *os.File) (t tail) {
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		t.add(buf[:n])
		if err != nil {
			return t
		}
	}
}

// drain reads what is left in the pipe without waiting for more.
func drain(r *os.File, t *tail) {
	conn, err := r.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 4<<10)
	_ = conn.Control(func(fd uintptr) {
		// As much as a pipe holds; a survivor may be writing all the time.
		for range 16 {
			n, err := unix.Read(int(fd), buf)
			if n <= 0 || err != nil {
				return
			}
			t.add(buf[:n])
		}
	})
}
