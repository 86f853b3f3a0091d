package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// The largest module that is at hand: CPython with its standard library.
func TestALanguageRuntimeRunsFromAnImage(t *testing.T) {
	onNewestDaemon(t, func(t *testing.T, h *host) {
		python, err := theSuite.store.Python(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		script := filepath.Join(dir, "script.py")
		if err := os.WriteFile(script, []byte(`import json, sys
with open("/data/in.json") as f:
    print(json.load(f)["greeting"], sys.argv[1:])
with open("/data/out", "w") as f:
    f.write("written")
print(open("/data/out").read())
sys.exit(7)
`), 0o600); err != nil {
			t.Fatal(err)
		}
		input := filepath.Join(dir, "in.json")
		if err := os.WriteFile(input, []byte(`{"greeting": "hello from a file"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		const ref = "localhost/python:1"
		tar := filepath.Join(dir, "python.tar")
		has(t, h.runWasmctl(t, "pack", python, "-t", ref, "-o", tar, "--file", script+":/script.py", "--file", input+":/data/in.json"), 0)
		if err := h.ImportImage(t.Context(), tar); err != nil {
			t.Fatal(err)
		}
		run := func(stdin string, args ...string) daemon.Result {
			args = append([]string{"run", "--rm", "--runtime", wasm, ref, h.NewID("python"), "/app.wasm"}, args...)
			return h.CtrInput(t.Context(), strings.NewReader(stdin), args...)
		}
		want(t, run("", "-c", "print(1+1)"), 0, "2\n", "")
		want(t, run("print('from stdin', sum(range(101)))", "-"), 0, "from stdin 5050\n", "")
		want(t, run("", "/script.py", "x"), 7, "hello from a file ['x']\nwritten\n", "")
	})
}
