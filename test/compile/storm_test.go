package compile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// kernelGrace is by how much the kernel's limit of processor time exceeds the
// process's own, and overhead what a process occupies beside the memory that is
// limited: its program, and what it shares.
const (
	kernelGrace = 10 * time.Second
	overhead    = 64 << 20
)

// COMPILE_STORM is for how long modules come, such as 30m; without it there are
// few. COMPILE_STORM_SEED repeats a storm's modules.
func TestHostileModulesHarmNothing(t *testing.T) {
	b := newBench(t)
	s := &storm{bench: b, seed: uint64(time.Now().UnixNano()), outcomes: map[string]int{}, deaths: map[string]string{}, guests: guests(t)}
	if text := os.Getenv("COMPILE_STORM_SEED"); text != "" {
		var err error
		if s.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	more := func(i int) bool { return i < 200 }
	if text := os.Getenv("COMPILE_STORM"); text != "" {
		length, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		end := time.Now().Add(length)
		more = func(int) bool { return time.Now().Before(end) }
	}
	files := openFiles(t)
	var next sync.Mutex
	count := 0
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for {
				next.Lock()
				i := count
				if t.Failed() || !more(i) {
					next.Unlock()
					return
				}
				count++
				next.Unlock()
				s.one(i)
			}
		})
	}
	workers.Wait()
	b.assertNothingLeft()
	if now := openFiles(t); now > files {
		t.Errorf("%d descriptors are open, %d were before", now, files)
	}
	s.report(count)
}

type storm struct {
	*bench
	seed uint64
	// guests are modules as people build them.
	guests [][]byte

	mu       sync.Mutex
	usages   []usage           // guarded by mu
	outcomes map[string]int    // by kind of module and of end; guarded by mu
	deaths   map[string]string // messages of processes that died, by module; guarded by mu
}

// one compiles the module of that number.
func (s *storm) one(i int) {
	r := rand.New(rand.NewPCG(s.seed, uint64(i)))
	kind, module := s.module(r)
	// Whole seconds, as the kernel counts them.
	limits := control.CompileLimits{Time: time.Duration(1+r.IntN(2)) * time.Second, Memory: int64(64+r.IntN(192)) << 20}
	c, used := s.withCgroup(s.Compiler)
	c.Limits = limits
	file, err := os.CreateTemp(s.root, ".module-")
	if err == nil {
		defer file.Close()
		err = errors.Join(os.Remove(file.Name()), writeAll(file, module))
	}
	if err != nil {
		s.t.Error(err)
		return
	}
	entry, _, err := c.Entry(context.Background(), s.cache, compile.Module{Name: kind, File: file})
	end, written := "compiled", int64(0)
	if refused, ok := errors.AsType[*compile.ModuleError](err); ok {
		end = string(refused.Err.Class)
		if refused.Err.Class == control.InvalidArgument && isValid(kind) {
			s.t.Errorf("seed %d, module %d, %s is valid: %v", s.seed, i, kind, err)
		}
		if refused.Err.Class == control.Internal {
			s.mu.Lock()
			s.deaths[fmt.Sprintf("seed %d, module %d, %s of %d bytes", s.seed, i, kind, len(module))] = refused.Err.Message
			s.mu.Unlock()
		}
	} else if err != nil {
		s.t.Errorf("seed %d, module %d, %s: %v", s.seed, i, kind, err)
	} else {
		written = entry.Size()
		if err := entry.Close(); err != nil {
			s.t.Error(err)
		}
	}
	u := used()
	if u.cpu > limits.Time+kernelGrace || u.memory > limits.Memory+overhead+written {
		s.t.Errorf("seed %d, module %d, %s: used %v and %d MiB of %v and %d MiB",
			s.seed, i, kind, u.cpu, u.memory>>20, limits.Time, limits.Memory>>20)
	}
	s.mu.Lock()
	s.usages = append(s.usages, u)
	s.outcomes[kind+": "+end]++
	s.mu.Unlock()
}

// isValid tells that modules of that kind are.
func isValid(kind string) bool {
	return kind == "random functions" || strings.HasPrefix(kind, "hostile (")
}

func writeAll(f *os.File, b []byte) error {
	_, err := f.Write(b)
	return err
}

// module makes one, and says of which kind.
func (s *storm) module(r *rand.Rand) (kind string, module []byte) {
	hostile := func(most int) (string, []byte) {
		names := slices.Sorted(maps.Keys(wasmtest.Hostile))
		name := names[r.IntN(len(names))]
		n := 1 + r.IntN(most)
		if name == "locals" || name == "locals in loops" {
			n = 1 + n/1000
		}
		return name, wasmtest.Hostile[name](n)
	}
	switch r.IntN(8) {
	case 0:
		b := make([]byte, r.IntN(4096))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if r.IntN(4) > 0 {
			b = append(slices.Clone(wasmtest.Header), b...)
		}
		return "random bytes", b
	case 1:
		return "random functions", wasmtest.Random(r, 1+r.IntN(20_000))
	case 2, 3:
		return "random functions, changed", wasmtest.Mutate(r, wasmtest.Random(r, 1+r.IntN(5_000)))
	case 4:
		return "guest, changed", wasmtest.Mutate(r, s.guests[r.IntN(len(s.guests))])
	case 5:
		_, b := hostile(1000)
		return "hostile, changed", wasmtest.Mutate(r, b)
	default:
		name, b := hostile(100_000)
		return "hostile (" + name + ")", b
	}
}

func (s *storm) report(count int) {
	var cpu time.Duration
	worst := usage{}
	for _, u := range s.usages {
		cpu += u.cpu
		worst.cpu, worst.memory = max(worst.cpu, u.cpu), max(worst.memory, u.memory)
	}
	s.t.Logf("seed %d: %d modules, %v of processor time; at most %v and %d MiB in one",
		s.seed, count, cpu.Round(time.Second), worst.cpu.Round(time.Millisecond), worst.memory>>20)
	for _, k := range slices.SortedFunc(maps.Keys(s.outcomes), cmp.Compare[string]) {
		s.t.Logf("%6d  %s", s.outcomes[k], k)
	}
	for module, message := range s.deaths {
		s.t.Logf("%s: %s", module, message)
	}
}

func guests(t *testing.T) (modules [][]byte) {
	t.Helper()
	store, err := provision.Open(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"probe-c", "hello-c"} {
		path, err := store.Guest(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		modules = append(modules, b)
	}
	return modules
}

func openFiles(t *testing.T) int {
	t.Helper()
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
