package wasi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// testsuite is the environment variable with the directory of the official
// tests, https://github.com/WebAssembly/wasi-testsuite at prod/testsuite-base.
const testsuite = "WASI_TESTSUITE"

// expectations are what a test's JSON file says; every field may be absent.
type expectations struct {
	Args     []string          `json:"args"`
	Env      map[string]string `json:"env"`
	Root     string            `json:"root"`
	Dirs     []string          `json:"dirs"`
	ExitCode int               `json:"exit_code"`
	Stdout   *string           `json:"stdout"`
}

// TestOfficialTestsuite runs each test as a process of its own, as a container
// would be.
func TestOfficialTestsuite(t *testing.T) {
	dir := os.Getenv(testsuite)
	if dir == "" {
		t.Skipf("%s is not set: it names a checkout of wasi-testsuite", testsuite)
	}
	var modules []string
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".wasm") {
			modules = append(modules, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(modules) < 72 {
		t.Fatalf("%d tests in %s, there should be at least 72", len(modules), dir)
	}
	wasmctl := filepath.Join(t.TempDir(), "wasmctl")
	build := exec.Command("go", "build", "-o", wasmctl, "../cmd/wasmctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, module := range modules {
		name, err := filepath.Rel(dir, strings.TrimSuffix(module, ".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { runOfficial(t, wasmctl, module) })
	}
}

func runOfficial(t *testing.T, wasmctl, module string) {
	var want expectations
	b, err := os.ReadFile(strings.TrimSuffix(module, ".wasm") + ".json")
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	args := []string{"run", "--cache", ""}
	for _, key := range slices.Sorted(maps.Keys(want.Env)) {
		args = append(args, "--env", key+"="+want.Env[key])
	}
	if want.Root != "" {
		args = append(args, "--dir", copyOf(t, filepath.Join(filepath.Dir(module), want.Root))+"::/")
	}
	for _, d := range want.Dirs {
		args = append(args, "--dir", copyOf(t, filepath.Join(filepath.Dir(module), d))+"::"+d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, wasmctl, append(append(args, module), want.Args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != want.ExitCode {
		t.Errorf("exit code %d, want %d; stderr:\n%s", code, want.ExitCode, &stderr)
	}
	if want.Stdout != nil && stdout.String() != *want.Stdout {
		t.Errorf("stdout %q, want %q", &stdout, *want.Stdout)
	}
}

// copyOf returns a copy of a directory, which the guest may change.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(dir))
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}
