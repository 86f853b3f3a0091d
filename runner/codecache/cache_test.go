package codecache

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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

func TestCommitTakesCompiledCodeOnly(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"nothing":        func(d string) error { return os.RemoveAll(filepath.Join(d, engineDir)) },
		"no file":        func(d string) error { return os.Remove(filepath.Join(d, engineDir, codeFile)) },
		"empty file":     func(d string) error { return os.Truncate(filepath.Join(d, engineDir, codeFile), 0) },
		"giant":          func(d string) error { return os.Truncate(filepath.Join(d, engineDir, codeFile), maxSize+1) },
		"temporary file": func(d string) error { return os.WriteFile(filepath.Join(d, engineDir, codeFile+".1.tmp"), nil, 0o600) },
		"second engine":  func(d string) error { return os.Mkdir(filepath.Join(d, engineDir+"2"), 0o700) },
		"stray file":     func(d string) error { return os.WriteFile(filepath.Join(d, "x"), nil, 0o600) },
		"symlink": func(d string) error {
			return os.Symlink("/etc/passwd", filepath.Join(d, engineDir, strings.Repeat("b", 64)))
		},
		"hard link": func(d string) error {
			return os.Link(filepath.Join(d, engineDir, codeFile), filepath.Join(d, engineDir, strings.Repeat("b", 64)))
		},
		"fifo":      func(d string) error { return unix.Mkfifo(filepath.Join(d, engineDir, strings.Repeat("b", 64)), 0o600) },
		"directory": func(d string) error { return os.Mkdir(filepath.Join(d, engineDir, strings.Repeat("b", 64)), 0o700) },
		"linked directory": func(d string) error {
			return errors.Join(os.Rename(filepath.Join(d, engineDir), d+"/../x"), os.Symlink("../x", filepath.Join(d, engineDir)))
		},
		"too many": func(d string) error {
			for i := range maxFiles {
				if err := os.WriteFile(filepath.Join(d, engineDir, fmt.Sprintf("%064x", i)), []byte{1}, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, filepath.Join(t.TempDir(), "cache"))
			d, err := c.Begin(testKey("app"))
			if err != nil {
				t.Fatal(err)
			}
			compile(t, d.Dir(), []byte("code"))
			if err := spoil(d.Dir()); err != nil {
				t.Fatal(err)
			}
			e, err := d.Commit()
			if err == nil {
				t.Fatalf("accepted %v", e)
			}
			t.Log(err)
			if names := entries(t, c); len(names) != 0 {
				t.Errorf("left %q", names)
			}
			if err := d.Discard(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOneOfManyConcurrentCompilersWins(t *testing.T) {
	root := filepath.Join(t.TempDir(), "cache")
	k := testKey("app")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c, err := Open(root) // sweeps while others compile
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for range 20 {
				d, err := c.Begin(k)
				if err != nil {
					t.Error(err)
					return
				}
				compile(t, d.Dir(), bytes.Repeat([]byte{byte(i)}, 10_000))
				if i == 7 {
					if err := d.Discard(); err != nil {
						t.Error(err)
					}
					continue
				}
				if i == 6 {
					if err := c.sweep(); err != nil {
						t.Error(err)
					}
				}
				e, err := d.Commit()
				if err != nil {
					t.Error(err)
					return
				}
				if e.Size() != 10_000 {
					t.Errorf("got %d bytes", e.Size())
				}
				e.Close()
			}
		})
	}
	wg.Wait()
	c := open(t, root)
	if names := entries(t, c); len(names) != 1 || names[0] != k.String() {
		t.Errorf("root holds %q", names)
	}
	if e, err := c.Lookup(k); err != nil {
		t.Error(err)
	} else {
		e.Close()
	}
}

func TestCommitReplacesADamagedEntry(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	k := testKey("app")
	d, err := c.Begin(k)
	if err != nil {
		t.Fatal(err)
	}
	compile(t, d.Dir(), []byte("good"))
	if err := os.Remove(filepath.Join(store(t, c, k, []byte("bad")), "meta.json")); err != nil {
		t.Fatal(err)
	}
	e, err := d.Commit()
	if err != nil || e.Size() != 4 {
		t.Fatalf("%v, %v", e, err)
	}
	e.Close()
	if _, err := d.Commit(); err == nil {
		t.Error("a second Commit succeeds")
	}
}

// A crash is a process that vanishes between any two system calls: what it has
// made so far is a draft, and only a dead one's is swept.
func TestDraftsOfTheDeadAreSwept(t *testing.T) {
	root := os.Getenv("CODECACHE_TEST_ROOT")
	if root != "" {
		c, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		d, err := c.Begin(testKey("dead"))
		if err != nil {
			t.Fatal(err)
		}
		compile(t, d.Dir(), []byte("code"))
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	root = filepath.Join(t.TempDir(), "cache")
	c := open(t, root)
	alive, err := c.Begin(testKey("alive"))
	if err != nil {
		t.Fatal(err)
	}
	compile(t, alive.Dir(), []byte("code"))
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "CODECACHE_TEST_ROOT="+root)
	if err := cmd.Run(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Fatalf("the other process: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(root, deadPrefix+"x", "y"), 0o700); err != nil {
		t.Fatal(err)
	}
	if names := entries(t, c); len(names) != 3 {
		t.Fatalf("root holds %q", names)
	}
	open(t, root)
	if names := entries(t, c); len(names) != 1 {
		t.Errorf("root holds %q, want the living draft alone", names)
	}
	e, err := alive.Commit()
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
}

func TestMountIsReadOnlyAndHasNoWayOut(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	k := testKey("app")
	dir := store(t, c, k, []byte("code"))
	e, err := c.Lookup(k)
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.OpenMount()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	base := fmt.Sprintf("/proc/self/fd/%d", m.Fd())
	file := base + "/" + engineDir + "/" + codeFile
	if b, err := os.ReadFile(file); err != nil || string(b) != "code" {
		t.Errorf("read: %q, %v", b, err)
	}
	if _, err := os.OpenFile(file, os.O_WRONLY, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("open for writing: %v", err)
	}
	if err := os.WriteFile(base+"/new", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("create: %v", err)
	}
	if err := os.Chmod(file, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("chmod: %v", err)
	}
	if err := os.Remove(file); !errors.Is(err, unix.EROFS) {
		t.Errorf("remove: %v", err)
	}
	here, err := os.Stat(base + "/.")
	if err != nil {
		t.Fatal(err)
	}
	if up, err := os.Stat(base + "/../../.."); err != nil || !os.SameFile(here, up) {
		t.Errorf("..: %v, %v", up, err)
	}
	if _, err := os.Stat(base + "/../meta.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("../meta.json: %v", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(base, &st); err != nil || st.Flags&(unix.ST_RDONLY|unix.ST_NOSUID|unix.ST_NODEV|unix.ST_NOEXEC) != unix.ST_RDONLY|unix.ST_NOSUID|unix.ST_NODEV|unix.ST_NOEXEC {
		t.Errorf("flags %x, %v", st.Flags, err)
	}
	// As another user in another root, through an inherited descriptor.
	if os.Geteuid() == 0 {
		cmd := exec.Command("/bin/sh", "-c", "cat /proc/self/fd/3/"+engineDir+"/"+codeFile+"; ! ls "+dir)
		cmd.ExtraFiles = []*os.File{m}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4321, Gid: 4321}}
		if out, err := cmd.Output(); err != nil || string(out) != "code" {
			t.Errorf("as another user: %q, %v", out, err)
		}
	}
}

func TestUseIsNotedOncePerHour(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	k := testKey("app")
	dir := store(t, c, k, []byte("code"))
	for age, noted := range map[time.Duration]bool{10 * time.Minute: false, 2 * time.Hour: true} {
		then := time.Now().Add(-age)
		if err := os.Chtimes(dir, then, then); err != nil {
			t.Fatal(err)
		}
		e, err := c.Lookup(k)
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
		if st, err := os.Stat(dir); err != nil || (time.Since(st.ModTime()) < time.Minute) != noted {
			t.Errorf("used after %v: noted at %v, %v", age, st.ModTime(), err)
		}
	}
}

func FuzzParseMeta(f *testing.F) {
	m := metaOf(testKey("app"), engineDir, []metaFile{{codeFile, 4, 5}}, time.Unix(1, 0))
	b, err := json.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"dir":"..","files":[{"name":"../x","size":-1}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMeta(b)
		if err != nil {
			return
		}
		if strings.Contains(m.Dir, "/") || m.Dir == ".." || len(m.Files) == 0 || len(m.Files) > maxFiles {
			t.Errorf("%+v", m)
		}
		var total int64
		for _, f := range m.Files {
			total += f.Size
			if strings.ContainsAny(f.Name, "/.") || f.Size <= 0 || total > maxSize || total <= 0 {
				t.Errorf("%+v", m)
			}
		}
	})
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
