package shim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

// runnerName is the runner's binary, which is installed beside the shim's.
const runnerName = "wasm-runner"

// engine names what compiles modules, for the key of the code cache; the
// runner's build covers its version.
const engine = "wazero"

// runnerPath finds the runner.
//
// Errors: errdefs.ErrUnavailable when it is not installed.
func runnerPath() (string, error) { return programPath(runnerName) }

// programPath finds a program beside the shim, or in containerd's PATH as runc
// is found: containerd may have been given a copy of the shim alone.
//
// Errors: errdefs.ErrUnavailable when it is in neither place.
func programPath(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own binary: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return "", errdefs.ErrUnavailable.WithMessage(fmt.Sprintf("%s is missing; install it beside %s or in containerd's PATH", path, filepath.Base(self)))
	}
	return found, nil
}

// runnerBuild identifies the runner's binary by the build id that Go's linker
// put into it, which depends on every input of the build.
var runnerBuild = sync.OnceValues(func() (string, error) {
	path, err := runnerPath()
	if err != nil {
		return "", err
	}
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("read build id of %s: %w", path, err)
	}
	defer f.Close()
	section := f.Section(".note.go.buildid")
	if section == nil {
		return "", fmt.Errorf("%s has no build id; build it with the go command", path)
	}
	note, err := section.Data()
	if err != nil {
		return "", fmt.Errorf("read build id of %s: %w", path, err)
	}
	sum := sha256.Sum256(note)
	return hex.EncodeToString(sum[:16]), nil
})

// compiled is compiled code for a process that is about to be launched; nil is
// none.
type compiled struct {
	// mount is the directory that holds it.
	mount *os.File
	entry *codecache.Entry
	// private is the directory of a cache for this process alone, or empty.
	private string
}

// mounted is what the process inherits.
func (c *compiled) mounted() *os.File {
	if c == nil {
		return nil
	}
	return c.mount
}

// release ends the use of the code, once the process has loaded it.
func (c *compiled) release(ctx context.Context) {
	if c == nil {
		return
	}
	c.mount.Close()
	if err := c.entry.Close(); err != nil {
		log.G(ctx).WithError(err).Warn("release compiled code")
	}
	if c.private != "" {
		if err := os.RemoveAll(c.private); err != nil {
			log.G(ctx).WithError(err).Warn("remove compiled code that is not cached")
		}
	}
}

// compiledCode returns the target's compiled code, compiling it first if the
// node's cache does not hold it. Where that cache cannot be used, the code is the
// caller's alone. Nothing without an error means that compiled code cannot be
// handed over at all: the runner compiles for itself then.
//
// Errors: errdefs.ErrInvalidArgument when the module cannot be compiled,
// errdefs.ErrResourceExhausted when it cannot within its limits.
func (c *container) compiledCode(ctx context.Context, target *oci.Target) (*compiled, error) {
	code, err := c.codeFrom(ctx, c.options.CacheDir, target)
	if !mayBeTheCache(ctx, err) {
		return code, blameModule(ctx, err)
	}
	log.G(ctx).WithError(err).WithField("cache", c.options.CacheDir).
		Warn("compiled code is not cached: the module is compiled at every start")
	private, err := os.MkdirTemp(c.bundle, "code-")
	if err == nil {
		if code, err = c.codeFrom(ctx, filepath.Join(private, "cache"), target); err == nil {
			code.private = private
			return code, nil
		}
		err = errors.Join(err, os.RemoveAll(private))
	}
	if !mayBeTheCache(ctx, err) {
		return nil, blameModule(ctx, err)
	}
	log.G(ctx).WithError(err).Warn("the module is compiled in its own process")
	return nil, nil
}

// mayBeTheCache tells that another directory may help.
func mayBeTheCache(ctx context.Context, err error) bool {
	_, module := errors.AsType[*moduleError](err)
	return err != nil && !module && ctx.Err() == nil
}

func blameModule(ctx context.Context, err error) error {
	if module, ok := errors.AsType[*moduleError](err); ok {
		return module.err
	}
	if err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// moduleError is a failure of compiling that would fail without the cache too.
type moduleError struct{ err error }

func (e *moduleError) Error() string { return e.err.Error() }
func (e *moduleError) Unwrap() error { return e.err }

// codeFrom takes the code from the cache at dir, compiling it first if it is not
// there.
func (c *container) codeFrom(ctx context.Context, dir string, target *oci.Target) (*compiled, error) {
	entry, err := c.cacheEntry(ctx, dir, target)
	if err != nil {
		return nil, err
	}
	mount, err := entry.OpenMount()
	if err != nil {
		return nil, errors.Join(err, entry.Close())
	}
	return &compiled{mount: mount, entry: entry}, nil
}

func (c *container) cacheEntry(ctx context.Context, dir string, target *oci.Target) (*codecache.Entry, error) {
	build, err := runnerBuild()
	if err != nil {
		return nil, err
	}
	cache, err := codecache.Open(dir, codecache.WithLimit(c.options.cacheSize))
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	digest, err := moduleDigest(target)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", target.Workload.Module, err)
	}
	key := codecache.NewKey(digest, engine, build)
	entry, err := cache.Lookup(key)
	if err == nil {
		return entry, nil
	}
	if !errors.Is(err, codecache.ErrMiss) {
		return nil, err
	}
	if damage, ok := errors.AsType[*codecache.DamageError](err); ok {
		log.G(ctx).WithError(damage).Warn("removed a damaged entry from the code cache")
	}
	draft, err := cache.Begin(key)
	if err != nil {
		return nil, err
	}
	if err := c.compile(ctx, draft, target); err != nil {
		return nil, errors.Join(err, draft.Discard())
	}
	return draft.Commit()
}

// moduleDigest hashes the whole file, unless its digest is known, and leaves its
// offset at 0.
func moduleDigest(target *oci.Target) (digest [sha256.Size]byte, _ error) {
	if target.Digest != nil {
		return *target.Digest, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(target.Module, 0, oci.MaxModuleSize)); err != nil {
		return digest, err
	}
	h.Sum(digest[:0])
	return digest, nil
}

// compile runs the compile process: in a sandbox of its own, since a module is
// hostile until proven otherwise, and inside the container's cgroup, since
// compiling takes memory and time that its owner pays for.
func (c *container) compile(ctx context.Context, draft *codecache.Draft, target *oci.Target) error {
	module, limits := target.Workload.Module, c.options.compile
	root, err := os.MkdirTemp(c.bundle, "compile-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	config, err := compileSandbox(root, draft.Dir(), limits)
	if err != nil {
		return err
	}
	if !c.options.Landlock {
		config.Landlock = nil
	}
	if err := draft.GiveTo(compileUser); err != nil {
		return err
	}
	// What Go's runtime says when it finds no memory.
	stderr, err := memfd("stderr", nil)
	if err != nil {
		return err
	}
	defer stderr.Close()
	inherited, err := unix.FcntlInt(stderr.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	// The process looks at the clock itself; this is for one that does not run.
	ctx, cancel := context.WithTimeoutCause(ctx, control.WallFactor*limits.Time+time.Minute, &moduleError{errdefs.ErrResourceExhausted.WithMessage(fmt.Sprintf(
		"%s is not compiled after %v; raise the runtime option CompileTime", module, control.WallFactor*limits.Time+time.Minute))})
	defer cancel()
	var undo undoStack
	defer undo.run()
	p := newProcess(0)
	p.stdio = &stdio{child: [3]*os.File{2: os.NewFile(uintptr(inherited), "stderr")}}
	err = c.launch(ctx, p, launched{
		config:   config,
		workload: control.CompileConfig{Dir: compileDir, Module: module, Limits: limits},
		name:     module,
		module:   target.Module,
		ended:    func(status int, err error) { p.exited(status, err, func() {}) },
	}, &undo)
	switch {
	case err == nil:
		return p.wait(ctx)
	case outOfMemory(stderr):
		return &moduleError{errdefs.ErrResourceExhausted.WithMessage(fmt.Sprintf(
			"%s takes more than %s of memory to compile; make the module smaller, or raise the runtime option CompileMemory", module, c.options.CompileMemory))}
	case errdefs.IsInvalidArgument(err) || errdefs.IsResourceExhausted(err) || errdefs.IsInternal(err):
		// The last is a process that died without a word: it would do so again.
		return &moduleError{err}
	}
	return fmt.Errorf("compile %s: %w", module, err)
}

// outOfMemory tells from what a process of Go left on its standard error that it
// ended for want of memory.
func outOfMemory(stderr *os.File) bool {
	head := make([]byte, 4<<10)
	n, _ := stderr.ReadAt(head, 0)
	return bytes.Contains(head[:n], []byte("out of memory")) || bytes.Contains(head[:n], []byte("cannot allocate memory"))
}
