package codecache

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

const (
	engineDir = "wazero-1.12.0-amd64-linux"
	codeFile  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

func testKey(module string) Key {
	return NewKey(sha256.Sum256([]byte(module)), "wazero 1.12.0", "test")
}

func open(t testing.TB, root string) *Cache {
	t.Helper()
	c, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// compile stands in for the engine: it leaves one file in its directory.
func compile(t testing.TB, dir string, code []byte) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, engineDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, engineDir, codeFile), code, 0o600); err != nil {
		t.Fatal(err)
	}
}

// store makes an entry and returns its directory.
func store(t testing.TB, c *Cache, k Key, code []byte) string {
	t.Helper()
	d, err := c.Begin(k)
	if err != nil {
		t.Fatal(err)
	}
	compile(t, d.Dir(), code)
	e, err := d.Commit()
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	return filepath.Join(c.root, k.String())
}

// entries lists the root without a view to what it is.
func entries(t testing.TB, c *Cache) []string {
	t.Helper()
	all, err := os.ReadDir(c.root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

func TestCodeIsFoundAgain(t *testing.T) {
	root := filepath.Join(t.TempDir(), "var", "cache")
	c := open(t, root)
	k := testKey("app")
	if _, err := c.Lookup(k); err != ErrMiss {
		t.Fatalf("Lookup in an empty cache: %v", err)
	}
	code := bytes.Repeat([]byte("code"), 50_000)
	dir := store(t, c, k, code)
	e, err := open(t, root).Lookup(k)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.Size() != int64(len(code)) || time.Since(e.Created()) > time.Minute {
		t.Errorf("size %d, created %v", e.Size(), e.Created())
	}
	if _, err := c.Lookup(testKey("other")); err != ErrMiss {
		t.Errorf("Lookup of another module: %v", err)
	}
	for path, want := range map[string]fs.FileMode{
		root: fs.ModeDir | 0o700, dir: fs.ModeDir | 0o755, dir + "/code": fs.ModeDir | 0o755, dir + "/meta.json": 0o444,
		dir + "/code/" + engineDir: fs.ModeDir | 0o755, dir + "/code/" + engineDir + "/" + codeFile: 0o444,
	} {
		if st, err := os.Lstat(path); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	if names := entries(t, c); len(names) != 1 {
		t.Errorf("root holds %q", names)
	}
}

func TestKeysDifferInEveryPart(t *testing.T) {
	k := testKey("app")
	if k.CPU == "" || k != testKey("app") || len(k.String()) != 64 {
		t.Errorf("key %v is %s", k, k)
	}
	seen := map[string]Key{k.String(): k}
	for _, other := range []Key{
		testKey("b"), {k.Module, "x", k.Build, k.CPU}, {k.Module, k.Engine, "x", k.CPU}, {k.Module, k.Engine, k.Build, "x"},
		{k.Module, k.Engine + "t", k.Build[1:], k.CPU},
	} {
		if same, ok := seen[other.String()]; ok {
			t.Errorf("%v and %v have the same name", same, other)
		}
		seen[other.String()] = other
	}
}

func TestDamagedEntriesAreMissesAndGo(t *testing.T) {
	file := "code/" + engineDir + "/" + codeFile
	edit := func(name string, change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			name := filepath.Join(dir, name)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, change(b), 0o600), os.Chmod(name, 0o444)); err != nil {
				t.Fatal(err)
			}
		}
	}
	do := func(change func(dir string) error) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	move := func(dir, name string) error {
		return os.Rename(filepath.Join(dir, name), filepath.Join(dir, "..", "away"))
	}
	remeta := func(change func(*meta)) func(*testing.T, string) {
		return edit("meta.json", func(b []byte) []byte {
			m, err := parseMeta(b)
			if err != nil {
				t.Fatal(err)
			}
			change(m)
			b, _ = json.Marshal(m)
			return b
		})
	}
	for name, damage := range map[string]func(*testing.T, string){
		"flipped byte":     edit(file, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }),
		"last bit":         edit(file, func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b }),
		"truncated file":   edit(file, func(b []byte) []byte { return b[:len(b)-1] }),
		"longer file":      edit(file, func(b []byte) []byte { return append(b, 0) }),
		"empty file":       edit(file, func([]byte) []byte { return nil }),
		"no file":          do(func(d string) error { return os.Remove(filepath.Join(d, file)) }),
		"no meta":          do(func(d string) error { return os.Remove(filepath.Join(d, "meta.json")) }),
		"empty meta":       edit("meta.json", func([]byte) []byte { return nil }),
		"half a meta":      edit("meta.json", func(b []byte) []byte { return b[:len(b)/2] }),
		"huge meta":        edit("meta.json", func(b []byte) []byte { return append(b, bytes.Repeat([]byte{' '}, 1<<20)...) }),
		"two metas":        edit("meta.json", func(b []byte) []byte { return append(b, b...) }),
		"another version":  remeta(func(m *meta) { m.Version++ }),
		"another module":   remeta(func(m *meta) { m.Module = strings.Repeat("0", 64) }),
		"another CPU":      remeta(func(m *meta) { m.CPU += "x" }),
		"another build":    remeta(func(m *meta) { m.Build += "x" }),
		"checksum of meta": remeta(func(m *meta) { m.Files[0].CRC32C++ }),
		"escaping name":    edit("meta.json", func(b []byte) []byte { return bytes.Replace(b, []byte(codeFile), []byte("../"+codeFile[3:]), 1) }),
		"symlink for the file": do(func(d string) error {
			return errors.Join(move(d, file), os.Symlink("../../../away", filepath.Join(d, file)))
		}),
		"symlink for the meta": do(func(d string) error {
			return errors.Join(move(d, "meta.json"), os.Symlink("../away", filepath.Join(d, "meta.json")))
		}),
		"symlink for code": do(func(d string) error {
			return errors.Join(move(d, "code"), os.Symlink("../away", filepath.Join(d, "code")))
		}),
		"symlink for the engine": do(func(d string) error {
			return errors.Join(move(d, "code/"+engineDir), os.Symlink("../../away", filepath.Join(d, "code", engineDir)))
		}),
		"symlink for the entry": do(func(d string) error {
			away := filepath.Join(d, "..", "away")
			return errors.Join(os.Rename(d, away), os.Symlink("away", d))
		}),
		"file for the entry": do(func(d string) error { return errors.Join(os.RemoveAll(d), os.WriteFile(d, nil, 0o600)) }),
		"empty directory":    do(func(d string) error { return errors.Join(os.RemoveAll(d), os.Mkdir(d, 0o755)) }),
		"FIFO for the file": do(func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, file)), unix.Mkfifo(filepath.Join(d, file), 0o444))
		}),
		"directory for the file": do(func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, file)), os.Mkdir(filepath.Join(d, file), 0o755))
		}),
		"hard link":                     do(func(d string) error { return os.Link(filepath.Join(d, file), filepath.Join(d, "..", "away")) }),
		"foreign file beside code":      do(func(d string) error { return os.WriteFile(filepath.Join(d, "x"), nil, 0o444) }),
		"foreign file in code":          do(func(d string) error { return os.WriteFile(filepath.Join(d, "code", "x"), nil, 0o444) }),
		"foreign file of the engine":    do(func(d string) error { return os.WriteFile(filepath.Join(d, "code", engineDir, "x"), nil, 0o444) }),
		"writable file":                 do(func(d string) error { return os.Chmod(filepath.Join(d, file), 0o644) }),
		"set-user-ID file":              do(func(d string) error { return unix.Chmod(filepath.Join(d, file), 0o4444) }),
		"writable directory":            do(func(d string) error { return os.Chmod(filepath.Join(d, "code"), 0o775) }),
		"file of another owner":         do(func(d string) error { return os.Chown(filepath.Join(d, file), 1234, -1) }),
		"meta of another owner":         do(func(d string) error { return os.Chown(filepath.Join(d, "meta.json"), 1234, -1) }),
		"entry of another owner":        do(func(d string) error { return os.Chown(d, 1234, -1) }),
		"engine's dir of another owner": do(func(d string) error { return os.Chown(filepath.Join(d, "code", engineDir), 1234, -1) }),
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "owner") && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			c := open(t, filepath.Join(t.TempDir(), "cache"))
			k := testKey("app")
			dir := store(t, c, k, bytes.Repeat([]byte("code"), 1000))
			damage(t, dir)
			e, err := c.Lookup(k)
			d, ok := errors.AsType[*DamageError](err)
			if !ok || !errors.Is(err, ErrMiss) || d.Reason == "" || d.Key != k.String() {
				t.Fatalf("%v, %v", e, err)
			}
			t.Log(d.Reason)
			for _, name := range entries(t, c) {
				if name != "away" {
					t.Errorf("%s is left", name)
				}
			}
			if _, err := c.Lookup(k); err != ErrMiss {
				t.Errorf("the second Lookup: %v", err)
			}
			os.RemoveAll(filepath.Join(c.root, "away"))
			store(t, c, k, []byte("new"))
			if e, err := c.Lookup(k); err != nil {
				t.Errorf("after compiling again: %v", err)
			} else {
				e.Close()
			}
		})
	}
}

func TestUnsafeRootsAreRefused(t *testing.T) {
	for name, prepare := range map[string]func(root string) error{
		"group-writable": func(r string) error { return errors.Join(os.Mkdir(r, 0o700), os.Chmod(r, 0o770)) },
		"world-writable": func(r string) error { return errors.Join(os.Mkdir(r, 0o700), unix.Chmod(r, 0o1777)) },
		"foreign":        func(r string) error { return errors.Join(os.Mkdir(r, 0o700), os.Chown(r, 1234, -1)) },
		"symlink":        func(r string) error { return errors.Join(os.Mkdir(r+"2", 0o700), os.Symlink(r+"2", r)) },
		"dangling":       func(r string) error { return os.Symlink(r+"3", r) },
		"file":           func(r string) error { return os.WriteFile(r, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "cache")
			if err := prepare(root); err != nil {
				t.Skip(err)
			}
			_, err := Open(root)
			if e, ok := errors.AsType[*control.Error](err); !ok || e.Class != control.Unavailable || !strings.Contains(e.Message, root) {
				t.Errorf("Open: %v", err)
			}
		})
	}
	t.Run("readable is tightened", func(t *testing.T) {
		root := filepath.Join(t.TempDir(), "cache")
		if err := errors.Join(os.Mkdir(root, 0o755), os.Chmod(root, 0o755)); err != nil {
			t.Fatal(err)
		}
		open(t, root)
		if st, err := os.Stat(root); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", st.Mode(), err)
		}
	})
}

func TestUseIsNotedOncePerMinute(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	k := testKey("app")
	dir := store(t, c, k, []byte("code"))
	for age, noted := range map[time.Duration]bool{20 * time.Second: false, 5 * time.Minute: true, -5 * time.Minute: true} {
		then := time.Now().Add(-age)
		if err := os.Chtimes(dir, then, then); err != nil {
			t.Fatal(err)
		}
		e, err := c.Lookup(k)
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
		if st, err := os.Stat(dir); err != nil || (time.Since(st.ModTime()).Abs() < 10*time.Second) != noted {
			t.Errorf("used after %v: noted at %v, %v", age, st.ModTime(), err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, size := range []int{100 << 10, 12 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			c := open(b, filepath.Join(b.TempDir(), "cache"))
			k := testKey("app")
			store(b, c, k, make([]byte, size))
			b.SetBytes(int64(size))
			for b.Loop() {
				e, err := c.Lookup(k)
				if err != nil {
					b.Fatal(err)
				}
				e.Close()
			}
		})
	}
}
