package compile

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/cgroup"
)

// Compiler compiles modules, each in a process of its own. Its fields are not
// changed once it is used.
type Compiler struct {
	// Limits bound each compilation.
	Limits control.CompileLimits
	// Landlock confines the processes where the kernel has it.
	Landlock bool
	// Cgroup is where the processes run, whose owner pays for them; nil is the
	// caller's own.
	Cgroup *cgroup.Cgroup
	// Start starts a process; nil is Start of os/exec. A program with a reaper
	// has its own.
	Start sandbox.Starter
}

// Module is what is to be compiled.
type Module struct {
	// Name is what messages call it.
	Name string
	// File is the binary. It is read without its offset.
	File *os.File
	// Digest is its SHA-256 if that is known without reading it.
	Digest *[sha256.Size]byte
}

// ModuleError is the failure of a module that would fail in any cache.
type ModuleError struct{ Err *control.Error }

func (e *ModuleError) Error() string { return e.Err.Error() }
func (e *ModuleError) Unwrap() error { return e.Err }

func refuse(class control.Class, format string, args ...any) *ModuleError {
	return &ModuleError{control.Errorf(class, format, args...)}
}

// patience is the part of the time that a compilation may take for which one
// waits for another process that compiles the same module. That process may be
// in a cgroup which hardly computes.
const patience = 4

// Entry returns the code of a module from the cache, and compiles it first, of
// all processes of the node in one, if it is not there. compiled tells whether
// this call did it.
//
// Errors: a *ModuleError when the module is to blame, the cause of ctx when that
// ends, and others when the cache cannot be used.
func (c *Compiler) Entry(ctx context.Context, cache *codecache.Cache, m Module) (entry *codecache.Entry, compiled bool, err error) {
	key, err := KeyOf(m)
	if err != nil {
		return nil, false, err
	}
	entry, err = cache.LookupOrMake(ctx, key, c.Limits.Time/patience, func(d *codecache.Draft) error {
		compiled = true
		own, err := copyOf(m, key, d)
		if err != nil {
			return err
		}
		defer own.Close()
		return c.compile(ctx, d, m.Name, own)
	})
	return entry, compiled, err
}

// copyOf returns a file of the module's bytes that nobody else has. The module
// may lie where others can write, and what is compiled must be what the key is
// about: the key is also that of the same module in another's container.
func copyOf(m Module, key codecache.Key, d *codecache.Draft) (*os.File, error) {
	f, err := d.TempFile()
	if err != nil {
		return nil, err
	}
	digest, err := digestOf(m.File, f)
	if err == nil && digest != key.Module {
		err = refuse(control.InvalidArgument, "%s was changed while it was read; leave the file alone while the container is created", m.Name)
	}
	if err == nil {
		// The process inherits the offset.
		_, err = unix.Seek(int(f.Fd()), 0, 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// start is a sandbox.Starter.
func start(cmd *exec.Cmd) (wait func() (int, error), err error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() (int, error) {
		err := cmd.Wait()
		if cmd.ProcessState == nil {
			return 0, fmt.Errorf("wait for the compile process: %w", err)
		}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return cmd.ProcessState.ExitCode(), nil
	}, nil
}
