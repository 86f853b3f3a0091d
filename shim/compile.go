package shim

import (
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

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/cgroup"
)

// runnerName is the runner's binary, which is installed beside the shim's.
const runnerName = "wasm-runner"

// engine names what compiles modules, for the key of the code cache; the
// runner's build covers its version.
const engine = "wazero"

func runnerPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own binary: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), runnerName)
	if _, err := os.Stat(path); err != nil {
		return "", errdefs.ErrUnavailable.WithMessage(fmt.Sprintf("%s is missing; install it beside %s", path, filepath.Base(self)))
	}
	return path, nil
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

// compiledCode returns the directory with the target's compiled code, compiling
// it first if the node's cache does not hold it. A nil file without an error
// means that the cache cannot be used: the runner compiles for itself then.
//
// Errors: errdefs.ErrInvalidArgument when the module cannot be compiled.
func (c *container) compiledCode(ctx context.Context, target *oci.Target) (*os.File, error) {
	entry, err := cacheEntry(ctx, c.options.CacheDir, c.cgroup, target)
	if err == nil {
		defer entry.Close()
		var code *os.File
		if code, err = entry.OpenMount(); err == nil {
			return code, nil
		}
	}
	if module, ok := errors.AsType[*moduleError](err); ok {
		return nil, module.err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	log.G(ctx).WithError(err).WithField("cache", c.options.CacheDir).
		Warn("compiled code is not cached: the module is compiled at every start")
	return nil, nil
}

// moduleError is a failure of compiling that would fail without the cache too.
type moduleError struct{ err error }

func (e *moduleError) Error() string { return e.err.Error() }
func (e *moduleError) Unwrap() error { return e.err }

func cacheEntry(ctx context.Context, dir string, cg *cgroup.Cgroup, target *oci.Target) (*codecache.Entry, error) {
	build, err := runnerBuild()
	if err != nil {
		return nil, err
	}
	cache, err := codecache.Open(dir)
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	digest, err := moduleDigest(target.Module)
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
	if err := compile(ctx, cg, draft.Dir(), target); err != nil {
		return nil, errors.Join(err, draft.Discard())
	}
	return draft.Commit()
}

// moduleDigest hashes the whole file and leaves its offset at 0.
func moduleDigest(f *os.File) (digest [sha256.Size]byte, _ error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, oci.MaxModuleSize)); err != nil {
		return digest, err
	}
	h.Sum(digest[:0])
	return digest, nil
}

// compile runs the compile process inside the container's limits: compiling a
// module takes memory and time that its owner pays for.
func compile(ctx context.Context, cg *cgroup.Cgroup, dir string, target *oci.Target) error {
	path, err := runnerPath()
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	conv, err := newConversation()
	if err != nil {
		return err
	}
	defer conv.close()
	defer conv.ours.Close()

	cmd := exec.Command(path, "compile")
	cmd.Env = []string{}
	// The descriptors of the init's program and workload stay unused.
	cmd.ExtraFiles = []*os.File{conv.config, conv.socket, null, null, target.Module}
	p := newProcess(0)
	p.cmd, p.control = cmd, conv.ours
	ended := func(status int, err error) { p.exited(status, err, func() {}) }
	if err := p.spawn(func(start func() error) error { return start() }, ended); err != nil {
		return fmt.Errorf("spawn the compile process: %w", err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		<-p.done
	}()
	conv.spawned()
	if err := cg.Add(p.pid()); err != nil {
		return fmt.Errorf("add the compile process to cgroup %s: %w", cg.Path(), err)
	}
	if err := conv.send(control.CompileConfig{Dir: dir, Module: target.Workload.Module}); err != nil {
		return err
	}
	if err := awaitReport(ctx, p, cg, target.Workload.Module); err != nil {
		if errdefs.IsInvalidArgument(err) || errdefs.IsResourceExhausted(err) {
			return &moduleError{err}
		}
		return fmt.Errorf("compile %s: %w", target.Workload.Module, err)
	}
	return nil
}
