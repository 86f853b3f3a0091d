package codecache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

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
