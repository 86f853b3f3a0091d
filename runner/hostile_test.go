package runner

import (
	"errors"
	"maps"
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
