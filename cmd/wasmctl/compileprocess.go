package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/launch"
	"github.com/wasmshim/containerd-shim-wasm/runner"
)

// compileProcess is the name, in place of the program's own, under which this
// program is the process that compiles a module.
const compileProcess = "wasmctl-compile"

// compileLimits are those of the runtime, unless its options say otherwise.
var compileLimits = compile.DefaultLimits()

// compileMain is that process.
func compileMain() int {
	limit := unix.Rlimit{Cur: uint64(compileLimits.Memory), Max: uint64(compileLimits.Memory)}
	if err := unix.Prlimit(0, unix.RLIMIT_DATA, &limit, nil); err != nil {
		fmt.Fprintln(os.Stderr, os.NewSyscallError("prlimit", err))
		return 1
	}
	return runner.Compile()
}

// tryCompile compiles a module as the runtime does when it creates a container, in
// a process of its own with the same limits, and throws the code away. Package
// compile would confine that process more, but needs root for it, which a check
// does not. The error is a *control.Error with the runtime's sentence.
func tryCompile(ctx context.Context, module *os.File, name string) error {
	dir, err := os.MkdirTemp("", "wasmctl-compile-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config, err := launch.Memfd("config", control.CompileConfig{Dir: dir, Module: name, Limits: compileLimits})
	if err != nil {
		return err
	}
	defer config.Close()
	here, there, err := os.Pipe()
	if err != nil {
		return err
	}
	defer here.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{compileProcess}
	cmd.Stderr = &limitedBuffer{&stderr, 4 << 10}
	cmd.ExtraFiles = []*os.File{control.SocketFD - 3: there, control.WorkloadFD - 3: config, control.ModuleFD - 3: module}
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	err = cmd.Start()
	there.Close()
	if err != nil {
		return err
	}
	reported := control.Receive(here)
	ended := cmd.Wait()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if errors.Is(reported, io.ErrUnexpectedEOF) {
		if bytes.Contains(stderr.Bytes(), []byte("out of memory")) || bytes.Contains(stderr.Bytes(), []byte("cannot allocate memory")) {
			return control.Errorf(control.ResourceExhausted,
				"%s takes more than %d MiB of memory to compile; make the module smaller, or raise the runtime option CompileMemory", name, compileLimits.Memory>>20)
		}
		return control.Errorf(control.Internal, "the process that compiles %s ended without a word: %v; this is a defect of the compiler", name, ended)
	}
	return reported
}

// limitedBuffer keeps the first bytes of what is written.
type limitedBuffer struct {
	b    *bytes.Buffer
	left int
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.b.Write(p[:n])
	return len(p), nil
}
