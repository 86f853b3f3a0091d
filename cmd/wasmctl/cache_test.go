package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	compiler "github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

// testCache is a cache with entries: one of this build, one of another, both not
// used for two and one hours.
type testCache struct {
	t    *testing.T
	root string
	keys map[string]codecache.Key
}

func newTestCache(t *testing.T) *testCache {
	t.Helper()
	// What stands in for the runner tells its build as every program of Go does.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "wasm-runner")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	c := &testCache{t: t, root: filepath.Join(t.TempDir(), "cache"), keys: map[string]codecache.Key{}}
	digest := [32]byte{1}
	current, err := compiler.KeyOf(compiler.Module{Digest: &digest})
	if err != nil {
		t.Fatal(err)
	}
	other := current
	other.Build = "another"
	c.keys["current"], c.keys["other"] = current, other
	cache, err := codecache.Open(c.root)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	for name, age := range map[string]time.Duration{"current": 2 * time.Hour, "other": time.Hour} {
		d, err := cache.Begin(c.keys[name])
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(d.Dir(), "wazero-1")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, strings.Repeat("a", 64)), []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
		e, err := d.Commit()
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
		used := time.Now().Add(-age)
		if err := os.Chtimes(c.entry(name), used, used); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *testCache) entry(name string) string { return filepath.Join(c.root, c.keys[name].String()) }

// run runs "wasmctl cache".
func (c *testCache) run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	args = append(append([]string{"wasmctl", "cache"}, args...), "--cache", c.root)
	code = execute(args, &out, &errs)
	return code, out.String(), errs.String()
}

func (c *testCache) want(code int, stdout []string, args ...string) {
	c.t.Helper()
	got, out, errs := c.run(args...)
	for _, s := range stdout {
		if !strings.Contains(out, s) {
			c.t.Errorf("%v: stdout lacks %q", args, s)
			got = -1
		}
	}
	if got != code {
		c.t.Errorf("%v: exit code %d, stdout\n%sstderr\n%s", args, got, out, errs)
	}
}

// holds fails the test unless the cache holds exactly these entries.
func (c *testCache) holds(names ...string) {
	c.t.Helper()
	found := 0
	for _, name := range names {
		if _, err := os.Stat(c.entry(name)); err != nil {
			c.t.Error(err)
		} else {
			found++
		}
	}
	all, err := os.ReadDir(c.root)
	if err != nil || len(all) != found {
		c.t.Errorf("the cache holds %v, %v; want %v", all, err, names)
	}
}

func (c *testCache) damage(name string) {
	c.t.Helper()
	file := filepath.Join(c.entry(name), "code", "wazero-1", strings.Repeat("a", 64))
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte("OTHER"), 0o600), os.Chmod(file, 0o444)); err != nil {
		c.t.Fatal(err)
	}
}

func TestCacheIsListed(t *testing.T) {
	c := newTestCache(t)
	c.want(0, []string{"sha256:010000000000", "ready\n", "of another build or CPU\n"}, "ls")
	c.want(0, []string{"entries       2, ", "other builds  1, ", "damaged       0\n"}, "stat")
	_, out, _ := c.run("ls", "--json")
	var list []map[string]any
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 2 || list[0]["current"] != true || list[1]["current"] != false ||
		list[0]["name"] != c.keys["current"].String() || list[0]["module"] != fmt.Sprintf("sha256:%x", c.keys["current"].Module) || list[0]["inUse"] != false {
		t.Errorf("%v: %s", err, out)
	}
	_, out, _ = c.run("stat", "--json")
	var sums map[string]any
	if err := json.Unmarshal([]byte(out), &sums); err != nil || sums["entries"] != 2.0 || sums["otherBuilds"] != 1.0 || sums["directory"] != c.root {
		t.Errorf("%v: %s", err, out)
	}
	c.holds("current", "other")
}

func TestCacheIsVerified(t *testing.T) {
	c := newTestCache(t)
	c.want(0, []string{"2 entries, 0 damaged\n"}, "verify")
	c.damage("other")
	c.want(1, []string{c.keys["other"].String() + ": ", "2 entries, 1 damaged\n"}, "verify")
	c.want(1, []string{`"verified": 2`, `"damage": "`}, "verify", "--json")
	c.holds("current", "other")
	c.want(1, nil, "verify", "--remove")
	c.holds("current")
	c.want(0, []string{"1 entries, 0 damaged\n"}, "verify")
}

func TestCacheIsPruned(t *testing.T) {
	for _, test := range []struct {
		args []string
		left []string
	}{
		{[]string{"--older-than", "90m"}, []string{"other"}},
		{[]string{"--older-than", "3h"}, []string{"current", "other"}},
		{[]string{"--other-builds"}, []string{"current"}},
		{[]string{"--other-builds", "--older-than", "90m"}, []string{"current", "other"}},
		{[]string{"--size", "1Gi"}, []string{"current", "other"}},
		{[]string{"--size", "1"}, nil},
		{[]string{"--all"}, nil},
		{[]string{"--all", "--dry-run"}, []string{"current", "other"}},
	} {
		c := newTestCache(t)
		if code, _, errs := c.run(append([]string{"prune"}, test.args...)...); code != 0 {
			t.Errorf("%v: exit code %d: %s", test.args, code, errs)
		}
		c.holds(test.left...)
	}
	c := newTestCache(t)
	c.want(0, []string{`"module": "sha256:01`}, "prune", "--all", "--json")
	for _, args := range [][]string{{"prune"}, {"prune", "--all", "--other-builds"}, {"ls", "operand"}, {"prune", "--size", "much"}} {
		if code, _, errs := c.run(args...); code != 1 || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: exit code %d: %s", args, code, errs)
		}
	}
}

// What somebody loads stays.
func TestAnEntryInUseIsNotPruned(t *testing.T) {
	c := newTestCache(t)
	cache, err := codecache.Open(c.root)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	e, err := cache.Lookup(c.keys["current"])
	if err != nil {
		t.Fatal(err)
	}
	c.want(0, []string{"in use\n"}, "ls")
	c.want(0, []string{"removed 1 entries"}, "prune", "--all")
	c.holds("current")
	e.Close()
	c.want(0, []string{"removed 1 entries"}, "prune", "--all")
	c.holds()
}

func TestADirectoryThatIsNoCacheIsRefused(t *testing.T) {
	c := newTestCache(t)
	for _, test := range []struct {
		says    string
		prepare func() error
	}{
		{"has mode 0755, and a code cache has 0700", func() error { return os.Chmod(c.root, 0o755) }},
		{"can be written by others", func() error { return os.Chmod(c.root, 0o770) }},
		{"belongs to uid 1234", func() error { return errors.Join(os.Chmod(c.root, 0o700), os.Chown(c.root, 1234, -1)) }},
		{"there is no code cache at", func() error { return os.RemoveAll(c.root) }},
	} {
		if err := test.prepare(); err != nil {
			t.Logf("%s: %v", test.says, err) // without root nobody can give files away
			continue
		}
		for _, command := range [][]string{{"ls"}, {"stat"}, {"verify", "--remove"}, {"prune", "--all"}} {
			code, out, errs := c.run(command...)
			if code != 1 || out != "" || !strings.Contains(errs, test.says) || strings.Count(errs, "\n") != 1 {
				t.Errorf("%v: exit code %d, %q, %q; want %q", command, code, out, errs, test.says)
			}
		}
	}
}

// On a node that is new there is nothing to do for a timer.
func TestPruneWithoutACacheIsNoFailure(t *testing.T) {
	var out, errs bytes.Buffer
	t.Setenv(compiler.CacheDirEnv, filepath.Join(t.TempDir(), "none"))
	if code := execute([]string{"wasmctl", "cache", "prune", "--all"}, &out, &errs); code != 0 || out.String() != "removed 0 entries, 0 B\n" {
		t.Errorf("exit code %d, %q, %q", code, &out, &errs)
	}
}
