package codecache_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

// module exports a function "f" that returns 42.
var module = []byte("\x00asm\x01\x00\x00\x00\x01\x05\x01\x60\x00\x01\x7f\x03\x02\x01\x00\x07\x05\x01\x01f\x00\x00\x0a\x06\x01\x04\x00\x41\x2a\x0b")

// run compiles the module with dir as wazero's cache and calls f.
func run(t *testing.T, dir string) error {
	t.Helper()
	ctx := context.Background()
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return err
	}
	defer cache.Close(ctx)
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache))
	defer r.Close(ctx)
	m, err := r.Instantiate(ctx, module)
	if err != nil {
		return err
	}
	if v, err := m.ExportedFunction("f").Call(ctx); err != nil || v[0] != 42 {
		return fmt.Errorf("f returns %v, %w", v, err)
	}
	return nil
}

// A miss in the read-only mount would fail, since wazero would write the file.
func TestWazeroCompilesIntoADraftAndRunsFromAMount(t *testing.T) {
	c, err := codecache.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d, err := c.Begin(codecache.NewKey(sha256.Sum256(module), "wazero", "test"))
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t, d.Dir()); err != nil {
		t.Skip(err) // no compiler for this platform
	}
	e, err := d.Commit()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	mount, err := e.OpenMount()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer mount.Close()
	if err := run(t, fmt.Sprintf("/proc/self/fd/%d", mount.Fd())); err != nil {
		t.Error(err)
	}
}
