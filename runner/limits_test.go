package runner

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// endless is a module that takes hours to compile.
func endless() []byte { return wasmtest.Hostile["br_table"](4_000_000) }

func TestCompilationEndsWithItsTime(t *testing.T) {
	limits := control.CompileLimits{Time: time.Second, Memory: 4 << 30}
	dir := t.TempDir()
	for name, err := range map[string]error{
		"the compile process": compileWithin(t, endless(), dir, limits),
		"a guest's own": func() error {
			_, err := startGuest(t, endless(), oci.Workload{Limits: limits}, nil, "")
			return err
		}(),
	} {
		e, ok := errors.AsType[*control.Error](err)
		if !ok || e.Class != control.ResourceExhausted || !strings.HasPrefix(e.Message, "app.wasm takes more than ") || !strings.Contains(e.Message, "CompileTime") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := entries(t, dir); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// ownData is what counts for RLIMIT_DATA of a process of this binary before it does
// anything: little, but with the race detector, hundreds of megabytes.
func ownData(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[5], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func TestTheGuestHasMoreMemoryThanItsCompilation(t *testing.T) {
	m := &wasmtest.Module{}
	exit := m.ImportFunc("wasi_snapshot_preview1", "proc_exit", m.Type([]byte{wasmtest.I32}, nil))
	m.Memory(1)
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), wasmtest.I32Const(8192), wasmtest.MemoryGrow, wasmtest.Call(exit)))
	code, _, stderr := runGuest(t, m.Bytes(), oci.Workload{Limits: control.CompileLimits{Time: time.Minute, Memory: 256<<20 + ownData(t)}})
	if code != 1 { // the pages before
		t.Errorf("growing by 512 MiB gives %d; %s", code, stderr)
	}
}
