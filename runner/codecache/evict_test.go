package codecache

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// entrySize is what an entry of size bytes of code takes, with its meta.json.
func entrySize(t testing.TB, size int) int64 {
	t.Helper()
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	store(t, c, testKey("app"), make([]byte, size))
	return sizeOf(c.dir, testKey("app").String())
}

func openLimited(t testing.TB, root string, limit int64) *Cache {
	t.Helper()
	c, err := Open(root, WithLimit(limit))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// kept tells which modules the cache holds.
func kept(t testing.TB, c *Cache, modules ...string) (found []string) {
	t.Helper()
	names := entries(t, c)
	for _, m := range modules {
		if slices.Contains(names, testKey(m).String()) {
			found = append(found, m)
		}
	}
	return found
}

func age(t testing.TB, c *Cache, module string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	if err := os.Chtimes(filepath.Join(c.root, testKey(module).String()), then, then); err != nil {
		t.Fatal(err)
	}
}

func TestTheLeastRecentlyUsedGoes(t *testing.T) {
	one := entrySize(t, 1000)
	c := openLimited(t, filepath.Join(t.TempDir(), "cache"), 3*one+one/2)
	for i, m := range []string{"a", "b", "c"} {
		store(t, c, testKey(m), make([]byte, 1000))
		age(t, c, m, time.Duration(10-i)*time.Hour)
	}
	e, err := c.Lookup(testKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	store(t, c, testKey("d"), make([]byte, 1000))
	if got := kept(t, c, "a", "b", "c", "d"); !slices.Equal(got, []string{"a", "c", "d"}) {
		t.Errorf("kept %v, want a, c and d", got)
	}
	// A large one displaces several.
	store(t, c, testKey("e"), make([]byte, 1000+int(2*one)))
	if got := kept(t, c, "a", "b", "c", "d", "e"); !slices.Equal(got, []string{"e"}) {
		t.Errorf("kept %v, want e", got)
	}
	if names := entries(t, c); len(names) != 1 {
		t.Errorf("root holds %q", names)
	}
}

func TestAnEntryInUseIsNotEvicted(t *testing.T) {
	one := entrySize(t, 1000)
	root := filepath.Join(t.TempDir(), "cache")
	c := openLimited(t, root, one+10)
	store(t, c, testKey("a"), make([]byte, 1000))
	// Two of them, of different opens of the cache.
	var held []*Entry
	for range 2 {
		e, err := openLimited(t, root, one).Lookup(testKey("a"))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, e)
	}
	for range 2 {
		d, err := c.Begin(testKey("b"))
		if err != nil {
			t.Fatal(err)
		}
		compile(t, d.Dir(), []byte("of b"))
		e, err := d.Commit()
		if err != nil {
			t.Fatal(err)
		}
		if got := kept(t, c, "a", "b"); !slices.Equal(got, []string{"a"}) {
			t.Errorf("kept %v, want a", got)
		}
		// There was no room for it, and it can be used nevertheless, even where
		// others open the cache, which sweeps drafts.
		open(t, root)
		if b := readMounted(t, e); string(b) != "of b" {
			t.Errorf("the entry that was not kept holds %q", b)
		}
		e.Close()
		if names := entries(t, c); len(names) != 1 {
			t.Errorf("root holds %q", names)
		}
		held[0].Close()
		held = held[1:]
	}
	store(t, c, testKey("b"), make([]byte, 1000))
	if got := kept(t, c, "a", "b"); !slices.Equal(got, []string{"b"}) {
		t.Errorf("kept %v, want b once a is in nobody's use", got)
	}
}

func TestAnEntryIsInUseFromItsCommit(t *testing.T) {
	one := entrySize(t, 1000)
	c := openLimited(t, filepath.Join(t.TempDir(), "cache"), one+one/2)
	d, err := c.Begin(testKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	compile(t, d.Dir(), []byte("of a"))
	e, err := d.Commit()
	if err != nil {
		t.Fatal(err)
	}
	// Found by others meanwhile, who share it.
	other, err := c.Lookup(testKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	store(t, c, testKey("b"), make([]byte, 1000))
	if b := readMounted(t, e); string(b) != "of a" {
		t.Errorf("it holds %q", b)
	}
	e.Close()
}

func TestAnEntryAboveTheLimitIsNotKeptAndDisplacesNothing(t *testing.T) {
	one := entrySize(t, 1000)
	c := openLimited(t, filepath.Join(t.TempDir(), "cache"), 2*one)
	store(t, c, testKey("a"), make([]byte, 1000))
	store(t, c, testKey("large"), make([]byte, 10_000))
	if got := kept(t, c, "a", "large"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("kept %v, want a", got)
	}
	if names := entries(t, c); len(names) != 1 {
		t.Errorf("root holds %q", names)
	}
}

// The reason why entries in use are locked.
func TestAMountDoesNotOutliveTheFilesOfAnEntry(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	dir := store(t, c, testKey("a"), []byte("of a"))
	e, err := c.Lookup(testKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	m, err := e.OpenMount()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(m.Fd()), engineDir, &st, 0); err != unix.ENOENT {
		t.Errorf("the engine's directory is still there: %v", err)
	}
}

// readMounted reads the code as a runner does.
func readMounted(t testing.TB, e *Entry) []byte {
	t.Helper()
	m, err := e.OpenMount()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/%s/%s", m.Fd(), engineDir, codeFile))
	if err != nil {
		t.Error(err)
	}
	return b
}

// Processes that use the same cache, two of which are killed again and again,
// never see damaged code, and never exceed the limit.
func TestManyProcessesShareALimitedCache(t *testing.T) {
	const size, modules = 20_000, 12
	if root := os.Getenv("CODECACHE_TEST_SHARED"); root != "" {
		limit, _ := strconv.ParseInt(os.Getenv("CODECACHE_TEST_LIMIT"), 10, 64)
		useCache(t, root, limit, size, modules)
		return
	}
	root := filepath.Join(t.TempDir(), "cache")
	limit := 4*entrySize(t, size) + 100
	c := openLimited(t, root, limit)
	start := func() (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "CODECACHE_TEST_SHARED="+root, "CODECACHE_TEST_LIMIT="+strconv.FormatInt(limit, 10))
		out := new(bytes.Buffer)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, out
	}
	type running struct {
		cmd *exec.Cmd
		out *bytes.Buffer
	}
	var list []running
	for range 4 {
		cmd, out := start()
		list = append(list, running{cmd, out})
	}
	for range 10 {
		cmd, _ := start()
		// Whenever it dies, nobody else is disturbed.
		for range rand.IntN(20) {
			if sum := total(c); sum > limit {
				t.Errorf("the cache holds %d bytes, more than %d", sum, limit)
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for _, r := range list {
		if err := r.cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, r.out)
		}
	}
	open(t, root) // sweeps
	if sum := total(c); sum > limit || sum == 0 {
		t.Errorf("in the end the cache holds %d bytes of %d", sum, limit)
	}
	for _, name := range entries(t, c) {
		if strings.HasPrefix(name, ".") {
			t.Errorf("left: %s", name)
		}
	}
}

func total(c *Cache) (sum int64) {
	list, _ := c.entries()
	for _, e := range list {
		sum += e.size
	}
	return sum
}

// useCache does what a shim does, many times.
func useCache(t *testing.T, root string, limit int64, size, modules int) {
	for range 60 {
		module := "module " + strconv.Itoa(rand.IntN(modules))
		k, code := testKey(module), bytes.Repeat([]byte(module+"\n"), size/8)[:size]
		c, err := Open(root, WithLimit(limit))
		if err != nil {
			t.Fatal(err)
		}
		e, err := c.Lookup(k)
		if err != nil && err != ErrMiss {
			t.Fatal(err) // a DamageError, too
		}
		if err == ErrMiss {
			d, err := c.Begin(k)
			if err != nil {
				t.Fatal(err)
			}
			compile(t, d.Dir(), code)
			if e, err = d.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if b := readMounted(t, e); !bytes.Equal(b, code) {
			t.Errorf("%s: %d bytes of other code", module, len(b))
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever sweeps takes what another is about to remove.
func TestTwoRemoveTheSame(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	for range 200 {
		if err := os.MkdirAll(filepath.Join(c.root, ".dead-x", "a", "b", "c"), 0o700); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := removeAll(c.dir, ".dead-x"); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
}
