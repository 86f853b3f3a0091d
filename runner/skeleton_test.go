package runner

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

func TestASkeletonHasAllButTheBodies(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(m *wasmtest.Module)
		same bool
	}{
		"no function": {func(*wasmtest.Module) {}, true},
		"functions":   {func(m *wasmtest.Module) { m.Func(m.Type(nil, []byte{0x7f}), wasmtest.I32Const(7)) }, false},
		"its own":     {func(m *wasmtest.Module) { m.Func(m.Type(nil, []byte{0x7f}), []byte{0x00}) }, true},
		"names": {func(m *wasmtest.Module) {
			m.FuncName(m.Func(m.Type(nil, nil), wasmtest.I32Const(7), []byte{0x1a}), "f")
		}, false},
		"a start section": {func(m *wasmtest.Module) { m.Start(m.Func(m.Type(nil, nil), wasmtest.I32Const(7), []byte{0x1a})) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := &wasmtest.Module{}
			m.Memory(1)
			tt.make(m)
			b := m.Bytes()
			info, err := inspect(b, "app.wasm")
			if err != nil {
				t.Fatal(err)
			}
			s := skeleton(b, info)
			if bytes.Equal(s, b) != tt.same {
				t.Errorf("of % x it is % x", b, s)
			}
			bones, err := inspect(s, "app.wasm")
			if err != nil || len(bones.funcs) != len(info.funcs) || len(bones.exports) != len(info.exports) {
				t.Fatalf("it has %d functions and %d exports, %v", len(bones.funcs), len(bones.exports), err)
			}
			r, _, err := compile(t.Context(), s, bones, "app.wasm", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Close(t.Context())
		})
	}
}

// Nobody runs a skeleton, whatever lies in the cache.
func TestCodeThatIsNotFoundIsMadeOfTheModule(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"another name": func(file string) error {
			dir, name := filepath.Split(file)
			return os.Rename(file, dir+strings.Repeat("0", len(name)))
		},
		"another version of the engine": func(file string) error {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			at := bytes.Index(b, []byte("v1.")) // in the header, behind the magic
			b[at+1]++
			return os.WriteFile(file, b, 0o600)
		},
		"two files": func(file string) error { return os.WriteFile(file+"0", nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := compileInDir(t, wasmtest.Exit(3), dir); err != nil {
				t.Fatal(err)
			}
			if err := damage(entries(t, dir)[0]); err != nil {
				t.Fatal(err)
			}
			p, err := startGuest(t, wasmtest.Exit(3), oci.Workload{}, nil, dir)
			if err != nil {
				t.Fatal(err)
			}
			if code := p.release(); code != 3 {
				t.Errorf("exit code %d, want 3", code)
			}
		})
	}
}
