package runner

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// The engine needs time that grows with the square of the number for "br_table",
// "ifs in a row", "loops in a row" and the nested ones; 50,000 locals cost 400 KB
// in each function.
func TestHostileModulesCompileOrHitALimit(t *testing.T) {
	t.Parallel() // its work is that of other processes
	for _, name := range slices.Sorted(maps.Keys(wasmtest.Hostile)) {
		n := 500
		if name == "locals" || name == "locals in loops" {
			n = 5
		}
		binary := wasmtest.Hostile[name](n)
		dir := t.TempDir()
		err := compileWithin(t, binary, dir, control.CompileLimits{Time: 30 * time.Second, Memory: 1 << 30})
		e, ok := errors.AsType[*control.Error](err)
		switch {
		case ok && e.Class == control.ResourceExhausted:
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			// What was compiled can be loaded.
			if _, err := startGuest(t, binary, oci.Workload{}, nil, dir); err != nil {
				t.Errorf("%s: load: %v", name, err)
			}
		}
	}
}

func TestModulesOfTooManyItemsAreRefused(t *testing.T) {
	for id, item := range map[byte][]byte{1: {0x60, 0, 0}, 2: {0, 0, 0, 0}, 3: {0}, 7: {0, 0, 0}} {
		m := &wasmtest.Module{}
		content := wasmtest.U32(maxItems + 1)
		for range maxItems + 1 {
			content = append(content, item...)
		}
		m.Raw(id, content)
		if _, err := Describe(m.Bytes(), "app.wasm", ""); err == nil || !strings.Contains(err.Error(), "more than 1000000") {
			t.Errorf("section %d: %v", id, err)
		}
	}
}

// Random functions are valid, or they would show little of the compiler.
func TestRandomModulesCompile(t *testing.T) {
	t.Parallel() // its work is that of other processes
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 0))
		binary := wasmtest.Random(r, 1+r.IntN(3000))
		err := compileWithin(t, binary, t.TempDir(), control.CompileLimits{Time: 60 * time.Second, Memory: 1 << 30})
		if e, ok := errors.AsType[*control.Error](err); ok && e.Class == control.ResourceExhausted {
			continue
		}
		if err != nil {
			t.Errorf("seed %d, %d bytes: %v", seed, len(binary), err)
		}
	}
}
