package runner

import (
	"os"
	"reflect"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

func TestGuestRunsTheCodeThatCompileStored(t *testing.T) {
	// Two modules of the same shape: the code of one serves for the other, which
	// shows whose code ran.
	dirs := map[int32]string{1: t.TempDir(), 2: t.TempDir()}
	files := map[int32]string{}
	for code, dir := range dirs {
		if err := compileInDir(t, wasmtest.Exit(code), dir); err != nil {
			t.Fatal(err)
		}
		found := entries(t, dir)
		if len(found) != 1 {
			t.Fatalf("compiling leaves %d files, want one", len(found))
		}
		files[code] = found[0]
	}
	b, err := os.ReadFile(files[2])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[1], b, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startGuest(t, wasmtest.Exit(1), oci.Workload{}, nil, dirs[1])
	if err != nil {
		t.Fatal(err)
	}
	if code := p.release(); code != 2 {
		t.Errorf("the guest exits with %d: the cached code did not run", code)
	}
	if found := entries(t, dirs[1]); !reflect.DeepEqual(found, []string{files[1]}) {
		t.Errorf("the guest left %v in the cache", found)
	}
}

func TestGuestRunsWithADamagedOrEmptyCache(t *testing.T) {
	dir := t.TempDir()
	binary := wasmtest.Exit(3)
	if err := compileInDir(t, binary, dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(entries(t, dir)[0], 20); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, t.TempDir(), "/dev"} {
		p, err := startGuest(t, binary, oci.Workload{}, nil, dir)
		if err != nil {
			t.Fatalf("cache %s: %v", dir, err)
		}
		if code := p.release(); code != 3 {
			t.Errorf("cache %s: exit code %d, want 3", dir, code)
		}
	}
}

func TestCompileRefusesInTheWordsOfGuest(t *testing.T) {
	invalid := &wasmtest.Module{}
	invalid.Export("_start", wasmtest.KindFunc, invalid.Func(invalid.Type(nil, nil), wasmtest.I32Const(1)))
	missing := &wasmtest.Module{}
	missing.ImportFunc("env", "nothing", missing.Type(nil, nil))
	for name, binary := range map[string][]byte{
		"empty":          nil,
		"component":      wasmtest.ComponentHeader,
		"invalid":        invalid.Bytes(),
		"missing import": missing.Bytes(),
	} {
		_, want := startGuest(t, binary, oci.Workload{}, nil, "")
		if want == nil {
			t.Fatalf("%s: Guest accepts it", name)
		}
		dir := t.TempDir()
		if got := compileInDir(t, binary, dir); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: Compile says %q, Guest says %q", name, got, want)
		}
		if found := entries(t, dir); len(found) > 0 {
			t.Errorf("%s: compiling left %v", name, found)
		}
	}
}
