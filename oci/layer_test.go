package oci

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func TestLayersAreAskedForWhatTheRootLacks(t *testing.T) {
	root := t.TempDir()
	fill(t, root, image{"app.wasm": core, "native": "\x7fELF"})
	file := filepath.Join(t.TempDir(), "module")
	if err := os.WriteFile(file, []byte(core), 0o600); err != nil {
		t.Fatal(err)
	}
	mark := map[string]string{handlerAnnotation: "wasm"}
	missing := control.Errorf(control.NotFound, "no such module")
	for _, test := range []struct {
		name        string
		args        []string
		annotations map[string]string
		reading     int
		fails       error
		none        bool // no layer is meant

		asked  []string // nil when the layers must not be asked
		wanted bool
		kind   Kind
		export string
		arg0   string
		class  control.Class
	}{
		{name: "in the root", args: []string{"/app.wasm"}, kind: Wasm, arg0: "/app.wasm"},
		{name: "native in the root", args: []string{"/native"}, kind: Native},
		{name: "in a layer", args: []string{"other"}, asked: []string{"other"}, kind: Wasm, arg0: "other"},
		{name: "with an export", args: []string{"other#run"}, asked: []string{"other#run", "other"}, reading: 1, wanted: true, kind: Wasm, export: "run", arg0: "other"},
		{name: "marked, native in the root", args: []string{"/native"}, annotations: mark, asked: []string{"/native"}, wanted: true, kind: Wasm, arg0: "/native"},
		{name: "marked, in neither", args: []string{"/native"}, annotations: mark, none: true, asked: []string{"/native"}, wanted: true, class: control.InvalidArgument},
		{name: "marked, refused by the layers", args: []string{"/native"}, annotations: mark, fails: missing, asked: []string{"/native"}, wanted: true, class: control.InvalidArgument},
		{name: "in neither", args: []string{"other"}, none: true, asked: []string{"other"}, kind: Native},
		{name: "in neither, Wasm by name", args: []string{"other.wasm"}, none: true, asked: []string{"other.wasm"}, wanted: true, class: control.NotFound},
		{name: "refused", args: []string{"other"}, fails: missing, asked: []string{"other"}, class: control.NotFound},
		{name: "without args, in the root", kind: Wasm, arg0: "/app.wasm"},
	} {
		var asked []string
		target, err := Resolve(
			&specs.Spec{Process: &specs.Process{Args: test.args, Cwd: "/"}, Annotations: test.annotations}, root,
			WithLayers(func(readings []string, wanted bool) (*Layer, error) {
				asked = readings
				if wanted != test.wanted {
					t.Errorf("%s: wanted is %v", test.name, wanted)
				}
				if test.none || test.fails != nil {
					return nil, test.fails
				}
				f, err := os.Open(file)
				return &Layer{File: f, Name: "other.wasm", Digest: sha256.Sum256([]byte(core)), Reading: test.reading}, err
			}))
		if !slices.Equal(asked, test.asked) {
			t.Errorf("%s: asked for %q", test.name, asked)
		}
		switch {
		case test.class != "":
			wantError(t, err, test.class, "")
		case err != nil:
			t.Errorf("%s: %v", test.name, err)
		case target.Kind != test.kind:
			t.Errorf("%s: kind %v", test.name, target.Kind)
		case test.kind == Wasm:
			target.Module.Close()
			if w := target.Workload; w.Export != test.export || w.Args[0] != test.arg0 || (target.Digest != nil) != (test.asked != nil) {
				t.Errorf("%s: %+v, digest %v", test.name, w, target.Digest)
			}
		}
	}
}

func TestOnlyModuleMayBeALayer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "module")
	if err := os.WriteFile(file, []byte(core), 0o600); err != nil {
		t.Fatal(err)
	}
	target, err := Resolve(&specs.Spec{Process: &specs.Process{Cwd: "/"}}, t.TempDir(), WithLayers(func(readings []string, wanted bool) (*Layer, error) {
		if len(readings) > 0 || !wanted {
			t.Errorf("asked for %q, wanted %v", readings, wanted)
		}
		f, err := os.Open(file)
		return &Layer{File: f, Name: "app.wasm"}, err
	}))
	if err != nil || target.Kind != Wasm || target.Workload.Args[0] != "app.wasm" {
		t.Fatalf("%+v, %v", target, err)
	}
	target.Module.Close()
}
