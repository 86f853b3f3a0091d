package compile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/launch"
	"github.com/wasmshim/containerd-shim-wasm/internal/osthread"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/cgroup"
)

// grace is by how much this side waits longer than the process's own clock does:
// for one that does not run at all.
const grace = time.Minute

// compile runs the compile process to its end. Whatever it leaves is in the draft.
func (c *Compiler) compile(ctx context.Context, draft *codecache.Draft, name string, module *os.File) error {
	root, err := draft.TempDir()
	if err != nil {
		return err
	}
	config, err := c.sandbox(root, draft.Dir())
	if err != nil {
		return err
	}
	if err := draft.GiveTo(compileUser); err != nil {
		return err
	}
	if c.Limits.Time > 0 {
		most := control.WallFactor*c.Limits.Time + grace
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, most, refuse(control.ResourceExhausted,
			"%s is not compiled after %v; raise the runtime option CompileTime", name, most))
		defer cancel()
	}
	p, err := c.spawn(config, control.CompileConfig{Dir: compileDir, Module: name, Limits: c.Limits}, module)
	if err != nil {
		return fmt.Errorf("compile %s: %w", name, err)
	}
	defer p.end()
	if err := p.run(ctx, config); err != nil {
		return p.blame(ctx, name, err)
	}
	return nil
}

// process is a compile process.
type process struct {
	compiler *Compiler
	cmd      *exec.Cmd
	talk     *launch.Conversation
	// stderr is what Go's runtime says when it finds no memory.
	stderr *os.File
	// killsBefore are the OOM kills of the cgroup before the process was there.
	killsBefore uint64
	// joins says that the init is in the cgroup without being added to it.
	joins bool
	// status is set before done is closed, at the end of the process.
	status int
	done   chan struct{}
}

// spawn starts the init of the sandbox, which waits for its configuration.
func (c *Compiler) spawn(config *sandbox.Config, workload control.CompileConfig, module *os.File) (_ *process, err error) {
	path, err := launch.Runner()
	if err != nil {
		return nil, err
	}
	program, err := sandbox.OpenProgram(path)
	if err != nil {
		return nil, fmt.Errorf("open the runner: %w", err)
	}
	defer program.Close()
	work, err := launch.Memfd("workload", workload)
	if err != nil {
		return nil, err
	}
	defer work.Close()
	p := &process{compiler: c, done: make(chan struct{})}
	if p.stderr, err = newStderr(); err != nil {
		return nil, err
	}
	if p.talk, err = launch.NewConversation(); err != nil {
		p.stderr.Close()
		return nil, err
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if c.Cgroup != nil {
		if p.killsBefore, err = c.Cgroup.OOMKills(); err != nil {
			return nil, err
		}
	}
	var birth *cgroup.Birth
	if c.Cgroup != nil {
		birth = c.Cgroup.Birth()
		defer birth.Close()
	}
	config.JoinBy(birth.Tasks())
	p.joins = birth != nil
	// In the order of the descriptors of package control.
	p.cmd = config.Command(path, [3]*os.File{2: p.stderr}, []*os.File{p.talk.Config, p.talk.Socket, program, work, module})
	birth.Prepare(p.cmd)
	starter := c.Start
	if starter == nil {
		starter = start
	}
	var wait func() (int, error)
	osthread.Run(func() (clean bool) {
		clean, err = config.Start(func() (err error) {
			wait, err = starter(p.cmd)
			return err
		})
		return clean
	})
	if err != nil {
		return nil, fmt.Errorf("spawn the sandbox's init: %w", err)
	}
	p.talk.Spawned()
	go func() {
		defer close(p.done)
		p.status, _ = wait()
	}()
	return p, nil
}

// run lets the process compile and returns when it has ended after a report that
// it has done so.
func (p *process) run(ctx context.Context, config *sandbox.Config) error {
	if cg := p.compiler.Cgroup; cg != nil && !p.joins {
		// One that has ended is found by its missing report.
		if err := cg.Add(p.cmd.Process.Pid); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("add the process to cgroup %s: %w", cg.Path(), err)
		}
	}
	// The init waits for this: it does nothing outside its limits.
	if err := p.talk.Send(config); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.talk.Ours.SetReadDeadline(time.Unix(1, 0)) })
	err := control.Receive(p.talk.Ours)
	if !stop() {
		return context.Cause(ctx)
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	select {
	case <-p.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// blame says what an error of run means. A process that died without a word
// would do so again.
func (p *process) blame(ctx context.Context, name string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if p.ranOutOfMemory() {
		return refuse(control.ResourceExhausted, "%s takes more than %s of memory to compile; make the module smaller, or raise the runtime option CompileMemory",
			name, sizeText(p.compiler.Limits.Memory))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		if p.killedForMemory() {
			return refuse(control.ResourceExhausted, "%s ran out of the container's memory while it was compiled or loaded; raise the memory limit", name)
		}
		return refuse(control.Internal, "%s: its compile process ended with status %d before it was done%s", name, p.status, p.lastWords())
	}
	if e, ok := errors.AsType[*control.Error](err); ok {
		switch e.Class {
		case control.InvalidArgument, control.ResourceExhausted, control.Internal:
			return &ModuleError{e}
		}
	}
	return fmt.Errorf("compile %s: %w", name, err)
}

// maxStderr is what of a standard error is kept.
const maxStderr = 16 << 10

// newStderr returns a file in memory that does not grow beyond maxStderr.
func newStderr() (*os.File, error) {
	fd, err := unix.MemfdCreate("stderr", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "stderr")
	err = f.Truncate(maxStderr)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make a standard error: %w", err)
	}
	return f, nil
}

// said is how a process's standard error begins.
func (p *process) said(most int) []byte {
	head := make([]byte, most)
	n, _ := p.stderr.ReadAt(head, 0)
	text, _, _ := bytes.Cut(head[:n], []byte{0})
	return text
}

// ranOutOfMemory tells from what a process of Go left on its standard error that
// it ended for want of memory. That is also why the runtime's own code, which runs
// on goroutine 0, meets nil: Go 1.26's collector does not check what its queues
// are given.
func (p *process) ranOutOfMemory() bool {
	head := p.said(4 << 10)
	return bytes.Contains(head, []byte("out of memory")) || bytes.Contains(head, []byte("cannot allocate memory")) ||
		metNilInRuntime(string(head))
}

// metNilInRuntime reads the head of what the runtime says of a signal: which, at
// what address, and the innermost function. (Not by a regular expression: every
// shim would compile it at its start.)
func metNilInRuntime(head string) bool {
	lines := strings.SplitN(head, "\n", 6)
	return len(lines) == 6 && strings.HasPrefix(lines[0], "SIGSEGV: ") && strings.HasSuffix(lines[1], " addr=0x0") &&
		strings.HasPrefix(lines[3], "goroutine 0 ") && strings.HasPrefix(lines[4], "runtime.")
}

// lastWords is the first line that the process left on its standard error, for a
// message.
func (p *process) lastWords() string {
	line, _, _ := bytes.Cut(p.said(200), []byte("\n"))
	if len(line) == 0 {
		return ""
	}
	return ": " + string(line)
}

func (p *process) killedForMemory() bool {
	if p.compiler.Cgroup == nil {
		return false
	}
	kills, err := p.compiler.Cgroup.OOMKills()
	return err == nil && kills > p.killsBefore
}

// end returns when the process is gone, with every one that it made: it is the
// first of its pid namespace.
func (p *process) end() {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	p.close()
}

func (p *process) close() {
	p.talk.Close()
	p.talk.Ours.Close()
	p.stderr.Close()
}

// sizeText writes bytes as runtime options have them.
func sizeText(n int64) string {
	switch {
	case n > 0 && n%(1<<30) == 0:
		return fmt.Sprintf("%dGi", n>>30)
	case n > 0 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMi", n>>20)
	}
	return fmt.Sprintf("%d", n)
}
