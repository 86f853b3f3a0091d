package shim

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/containerd/log"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

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
	// Beside the caller: before a detached mount is gone, the kernel waits for
	// every processor.
	go c.mount.Close()
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
	_, module := errors.AsType[*compile.ModuleError](err)
	return err != nil && !module && ctx.Err() == nil
}

func blameModule(ctx context.Context, err error) error {
	if module, ok := errors.AsType[*compile.ModuleError](err); ok {
		return classify(module.Err)
	}
	if err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// codeFrom takes the code from the cache at dir, compiling it first if it is not
// there. That is done inside the container's cgroup, since it takes memory and
// time that its owner pays for.
func (c *container) codeFrom(ctx context.Context, dir string, target *oci.Target) (*compiled, error) {
	cache, err := codecache.Open(dir, codecache.WithLimit(c.options.cacheSize), codecache.WithDamageReport(func(d *codecache.DamageError) {
		log.G(ctx).WithError(d).Warn("removed a damaged entry from the code cache")
	}))
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	compiler := compile.Compiler{Limits: c.options.compile, Landlock: c.options.Landlock, Cgroup: c.cgroup, Start: startReaped}
	entry, _, err := compiler.Entry(ctx, cache, compile.Module{Name: target.Workload.Module, File: target.Module, Digest: target.Digest})
	if err != nil {
		return nil, err
	}
	mount, err := entry.OpenMount()
	if err != nil {
		return nil, errors.Join(err, entry.Close())
	}
	return &compiled{mount: mount, entry: entry}, nil
}
