package compile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/cgroup"
)

// bench is a compiler with a cache and a cgroup of its own, which it watches.
type bench struct {
	compile.Compiler
	t     testing.TB
	root  string
	cache *codecache.Cache

	// cgroups is the path of a cgroup for those of single compilations.
	cgroups string
	made    atomic.Int64
}

// usage is what a compile process has used.
type usage struct {
	cpu    time.Duration
	memory int64 // at most, in bytes, with what it wrote to files
}

func newBench(t testing.TB) *bench {
	t.Helper()
	useBuiltRunner(t)
	b := &bench{t: t, root: filepath.Join(t.TempDir(), "cache"), cgroups: fmt.Sprintf("/compile-test-%d", os.Getpid())}
	b.cache = openCache(t, b.root)
	b.Compiler = compile.Compiler{
		Limits:   control.CompileLimits{Time: 2 * time.Minute, Memory: 2 << 30},
		Landlock: true,
	}
	return b
}

// useBuiltRunner lets this program find the runner in its PATH.
func useBuiltRunner(t testing.TB) {
	t.Helper()
	bin := os.Getenv("E2E_BIN")
	if bin == "" {
		t.Skip("E2E_BIN does not name the directory of the built binaries; run make test")
	}
	if os.Geteuid() != 0 {
		t.Skip("the compile process needs root")
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func openCache(t testing.TB, root string) *codecache.Cache {
	t.Helper()
	cache, err := codecache.Open(root, codecache.WithLimit(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return cache
}

// withCgroup gives a compiler a cgroup of its own. used tells what its processes
// have used, and removes it.
func (b *bench) withCgroup(c compile.Compiler) (_ *compile.Compiler, used func() usage) {
	b.t.Helper()
	path := fmt.Sprintf("%s/%d", b.cgroups, b.made.Add(1))
	cg, err := cgroup.Create(path, &specs.LinuxResources{})
	if err != nil {
		b.t.Fatal(err)
	}
	c.Cgroup = cg
	return &c, func() (u usage) {
		stat, err := cg.Stat()
		if err != nil {
			b.t.Error(err)
		}
		switch s := stat.(type) {
		case *cgroup1.Metrics:
			u = usage{time.Duration(s.CPU.Usage.Total), int64(s.Memory.Usage.Max)}
		case *cgroup2.Metrics:
			u = usage{time.Duration(s.CPU.UsageUsec) * time.Microsecond, int64(s.Memory.MaxUsage)}
		default:
			b.t.Errorf("the cgroup's numbers are a %T", stat)
		}
		if pids, err := cg.Pids(); err != nil || len(pids) > 0 {
			b.t.Errorf("left in the cgroup: processes %v, %v", pids, err)
		}
		if err := cg.Delete(); err != nil {
			b.t.Error(err)
		}
		return u
	}
}

// moduleFile is a file of that content.
func moduleFile(t testing.TB, content []byte) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "*.wasm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	return f
}

// assertNothingLeft fails the test when a compilation left a mount, a draft or
// a cgroup.
func (b *bench) assertNothingLeft() {
	b.t.Helper()
	for _, name := range names(b.t, b.root) {
		if strings.HasPrefix(name, ".draft-") || strings.HasPrefix(name, ".dead-") {
			b.t.Errorf("left in the cache: %s", name)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || bytes.Contains(mounts, []byte(b.root)) {
		b.t.Errorf("left mounts below %s, or %v", b.root, err)
	}
}

func names(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
