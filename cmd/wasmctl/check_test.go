package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

// checkRun runs wasmctl check.
func checkRun(args ...string) (code int, stdout, stderr string) {
	var out, errOut bytes.Buffer
	code = execute(append([]string{"wasmctl", "check"}, args...), &out, &errOut)
	return code, out.String(), errOut.String()
}

func packed(t *testing.T, module string, args ...string) {
	t.Helper()
	var errOut bytes.Buffer
	if code := execute(append([]string{"wasmctl", "pack", module}, args...), &bytes.Buffer{}, &errOut); code != 0 {
		t.Fatalf("pack: %s", &errOut)
	}
}

func TestCheckSaysWhatRunsAndWhyNot(t *testing.T) {
	dir := t.TempDir()
	good := writeModule(t, dir, "good.wasm", wasmtest.Exit(3))
	m := &wasmtest.Module{}
	m.ImportFunc("env", "missing", m.Type(nil, nil))
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil)))
	missing := writeModule(t, dir, "missing.wasm", m.Bytes())
	// It is well formed, and only the engine sees that its code is not.
	m = &wasmtest.Module{}
	m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil), wasmtest.I32Add))
	invalid := writeModule(t, dir, "invalid.wasm", m.Bytes())
	component := writeModule(t, dir, "component.wasm", wasmtest.ComponentHeader)
	packed(t, good, "-t", "acme/a:v1", "-o", dir+"/linux.tar")
	packed(t, good, "-t", "acme/a:v1", "--layout", dir+"/layout", "--shape", "artifact")
	packed(t, missing, "-t", "acme/b:v1", "--layout", dir+"/layout", "--attach", good+":application/x-sbom")
	truncated := filepath.Join(dir, "truncated.tar")
	b, err := os.ReadFile(dir + "/linux.tar")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(truncated, b[:3000], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{good}, 0, []string{"runs      yes", "entry     _start", "memory    64 KiB at first", "imports   WASI preview 1: 1\n", "exports   memory, _start\n"}},
		{[]string{good + "#memory"}, 1, []string{"exports memory as a memory, not as a function"}},
		{[]string{missing}, 1, []string{"imports env.missing, which this runtime does not provide", "imports   nobody: 1 (env.missing)"}},
		{[]string{invalid}, 1, []string{"is not a valid WebAssembly module for this runtime"}},
		{[]string{"--fast", invalid}, 0, []string{"runs      yes"}},
		{[]string{component}, 1, []string{"is a WebAssembly component"}},
		{[]string{dir + "/linux.tar"}, 0, []string{"linux.tar, image docker.io/acme/a:v1\n", "runs      yes", "platform  linux/", "module    /app.wasm\n"}},
		{[]string{dir + "/layout"}, 1, []string{
			"image docker.io/acme/a:v1\n", "module    app.wasm, a layer of its own\n", "image docker.io/acme/b:v1\n", "/app.wasm imports env.missing",
		}},
		{[]string{good, missing}, 1, []string{"runs      yes", "runs      no"}},
		{[]string{truncated}, 1, []string{"truncated.tar: there is no blobs/sha256/"}},
		{[]string{dir + "/gone.wasm"}, 1, []string{"no such file"}},
		{[]string{"/dev/null"}, 1, []string{"neither a file nor a directory"}},
		{[]string{"Bad_Name"}, 1, []string{"must be lowercase"}},
	} {
		code, stdout, stderr := checkRun(tt.args...)
		if code != tt.code || stderr != "" {
			t.Errorf("%v: exit code %d, want %d: %s", tt.args, code, tt.code, stderr)
		}
		for _, want := range tt.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%v prints\n%swithout %q", tt.args, stdout, want)
			}
		}
	}
}

func TestCheckWritesJSON(t *testing.T) {
	dir := t.TempDir()
	good := writeModule(t, dir, "good.wasm", wasmtest.Exit(3))
	code, stdout, _ := checkRun("--json", good, dir+"/gone.wasm")
	var all []struct {
		Operand, Digest, Reason, Entry string
		Runs                           bool
		Imports                        []struct {
			Provider string
			Count    int
			Names    []string
		}
		Memory struct{ Min, Max uint64 }
	}
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != 1 || len(all) != 2 {
		t.Fatalf("exit code %d, %v\n%s", code, err, stdout)
	}
	if r := all[0]; !r.Runs || r.Reason != "" || r.Operand != good || r.Entry != "_start" || !strings.HasPrefix(r.Digest, "sha256:") ||
		r.Memory.Min != 65536 || len(r.Imports) != 1 || r.Imports[0].Names[0] != "wasi_snapshot_preview1.proc_exit" {
		t.Errorf("%+v", r)
	}
	if r := all[1]; r.Runs || !strings.Contains(r.Reason, "no such file") {
		t.Errorf("%+v", r)
	}
}

// The compiler needs minutes for it; the process that compiles is ended.
func TestCheckIsBounded(t *testing.T) {
	before := compileLimits
	t.Cleanup(func() { compileLimits = before })
	compileLimits.Time = time.Second
	hostile := writeModule(t, t.TempDir(), "hostile.wasm", wasmtest.Hostile["loops in a row"](20_000))
	code, stdout, _ := checkRun(hostile)
	if code != 1 || !strings.Contains(stdout, "to compile; ") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

func TestCheckNeedsAnOperand(t *testing.T) {
	if code, _, stderr := checkRun(); code != 1 || !strings.Contains(stderr, "nothing to check") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
