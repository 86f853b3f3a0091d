package codecache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func keepModule(t *testing.T, c *Cache, content []byte) *Entry {
	t.Helper()
	d, err := c.Begin(ModuleKey(sha256.Sum256(content)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.CreateModule()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	e, err := d.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestModulesAreKeptBesideTheirCode(t *testing.T) {
	c, err := Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	module := bytes.Repeat([]byte("module"), 1000)
	key := ModuleKey(sha256.Sum256(module))
	if _, err := c.Lookup(key); !errors.Is(err, ErrMiss) {
		t.Fatalf("an empty cache: %v", err)
	}
	keepModule(t, c, module).Close()
	e, err := c.Lookup(key)
	if err != nil {
		t.Fatal(err)
	}
	f, err := e.OpenModule()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e.Close()
	// Evicted, and still readable for who has opened it.
	if gone, err := c.evict(key.String(), nil); err != nil || !gone {
		t.Fatalf("evict: %v, %v", gone, err)
	}
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, module) {
		t.Errorf("read %d bytes: %v", len(got), err)
	}
}

func TestDamagedModuleIsRemoved(t *testing.T) {
	root := filepath.Join(t.TempDir(), "cache")
	c, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	module := []byte("a module")
	key := ModuleKey(sha256.Sum256(module))
	keepModule(t, c, module).Close()
	files, _ := filepath.Glob(filepath.Join(root, key.String(), "code", moduleDir, "*"))
	if len(files) != 1 {
		t.Fatalf("files: %q", files)
	}
	if err := os.Chmod(files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], []byte("A module"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(files[0], fileMode); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Lookup(key); !errors.As(err, new(*DamageError)) {
		t.Errorf("a damaged module: %v", err)
	}
}
