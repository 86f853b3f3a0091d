package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// writeModule puts a binary into a directory.
func writeModule(t *testing.T, dir, name string, binary []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, binary, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunExitsWithTheGuestsCode(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := t.TempDir()
	exits := writeModule(t, dir, "exits.wasm", wasmtest.Exit(256+7))
	notWasm := writeModule(t, dir, "not.wasm", []byte("hello"))
	for _, c := range []struct {
		args []string
		code int
		part string
	}{
		{[]string{exits}, 7, ""},
		{[]string{exits, "--dir", "x", "-h"}, 7, ""},
		{[]string{notWasm}, runFailure, "is not a WebAssembly module"},
		{[]string{filepath.Join(dir, "absent.wasm")}, runFailure, "no such file"},
		{[]string{exits + "#absent"}, runFailure, "exports no function absent"},
		{[]string{"--dir", "a::b::c", exits}, runFailure, "HOST::GUEST"},
		{[]string{"--dir", dir + "/absent::/", exits}, runFailure, "no such file"},
		{nil, runFailure, "no module given"},
	} {
		var stdout, stderr bytes.Buffer
		code := execute(append([]string{"wasmctl", "run"}, c.args...), &stdout, &stderr)
		if code != c.code || !strings.Contains(stderr.String(), c.part) || strings.Count(stderr.String(), "\n") > 1 {
			t.Errorf("run %q exits with %d and prints %q; want %d and one line with %q", c.args, code, &stderr, c.code, c.part)
		}
		if c.part != "" && !strings.HasPrefix(stderr.String(), "wasmctl: ") {
			t.Errorf("run %q prints %q without our name", c.args, &stderr)
		}
	}
}

func TestExportIsSeparatedFromTheFilesName(t *testing.T) {
	dir := t.TempDir()
	writeModule(t, dir, "plain.wasm", nil)
	writeModule(t, dir, "odd.wasm#name", nil)
	writeModule(t, dir, "both.wasm", nil)
	writeModule(t, dir, "both.wasm#name", nil)
	t.Chdir(dir)
	for arg, want := range map[string][2]string{
		"plain.wasm":       {"plain.wasm", ""},
		"plain.wasm#serve": {"plain.wasm", "serve"},
		"odd.wasm#name":    {"odd.wasm#name", ""},
		"absent.wasm#f":    {"absent.wasm", "f"},
	} {
		path, export, err := splitExport(arg)
		if path != want[0] || export != want[1] || err != nil {
			t.Errorf("%s is %q and %q (%v), want %q", arg, path, export, err, want)
		}
	}
	for arg, part := range map[string]string{"both.wasm#name": "both files exist", "plain.wasm#": "names no function"} {
		if _, _, err := splitExport(arg); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: error is %v, want %q", arg, err, part)
		}
	}
}

func TestPreopenFlag(t *testing.T) {
	for arg, want := range map[string]oci.Preopen{
		"/a":         {Host: "/a", Guest: "/a"},
		"/a::/b":     {Host: "/a", Guest: "/b"},
		"a:b::/c":    {Host: "a:b", Guest: "/c"},
		"/a::/b::ro": {Host: "/a", Guest: "/b", ReadOnly: true},
	} {
		if got, err := parsePreopen(arg); got != want || err != nil {
			t.Errorf("%s is %+v (%v), want %+v", arg, got, err, want)
		}
	}
	for _, arg := range []string{"", "::/b", "/a::", "/a::/b::rw", "/a::/b::ro::x"} {
		if p, err := parsePreopen(arg); err == nil {
			t.Errorf("%q is %+v", arg, p)
		}
	}
}

func TestCacheOfCompiledCodeMustBePrivate(t *testing.T) {
	dir := t.TempDir()
	private := filepath.Join(dir, "new")
	if got, err := privateCache(private); got != private || err != nil {
		t.Errorf("a new directory: %q, %v", got, err)
	}
	if st, err := os.Stat(private); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("it is created as %v, %v", st, err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o770); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(private, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{open, link} {
		if _, err := privateCache(path); err == nil {
			t.Errorf("%s is accepted", path)
		}
	}
	// The default one is silently not used.
	t.Setenv("XDG_CACHE_HOME", dir)
	if err := os.MkdirAll(filepath.Join(dir, "containerd-shim-wasm"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(private, filepath.Join(dir, "containerd-shim-wasm", "compiled")); err != nil {
		t.Fatal(err)
	}
	if got, err := privateCache(""); got != "" || err != nil {
		t.Errorf("a default directory that is a link: %q, %v", got, err)
	}
}

func TestRunGivesAGoGuestArgumentsEnvironmentAndFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles Go's standard library for wasip1")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(`package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	in, _ := io.ReadAll(os.Stdin)
	file, err := os.ReadFile("/data/file")
	werr := os.WriteFile("/data/other", nil, 0o600)
	fmt.Println(os.Args, os.Environ(), string(in), string(file), err, werr)
	if len(os.Args) > 2 {
		panic("done")
	}
}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "guest.wasm"), source)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(dir, "cache")
	t.Setenv("FROM_HERE", "y")
	t.Setenv("NOT_ASKED_FOR", "z")

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// wazero's host has ENOSYS for every change below a read-only directory.
	for range 2 { // The second time from the cache.
		cmd := exec.Command(exe, "run", "--cache", cache, "--env", "A=x,=", "--env", "FROM_HERE", "--dir", data+"::/data::ro",
			filepath.Join(dir, "guest.wasm"), "--flag", "two words")
		cmd.Env = append(os.Environ(), "WASMCTL_TEST_MAIN=1")
		cmd.Stdin = strings.NewReader("input")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run()
		want := "[guest.wasm --flag two words] [A=x,= FROM_HERE=y] input content <nil> open /data/other: Read-only file system\n"
		if got := stdout.String(); got != want {
			t.Errorf("guest prints\n%swant\n%s%s", got, want, &stderr)
		}
		if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.HasPrefix(stderr.String(), "panic: done") {
			t.Errorf("a panic exits with %d and prints %q", code, &stderr)
		}
	}
}

// TestMain lets the test binary be the program: a guest owns the process's
// standard streams, and a module is compiled in a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("WASMCTL_TEST_MAIN") != "" || os.Args[0] == compileProcess {
		os.Exit(dispatch(os.Args))
	}
	os.Exit(m.Run())
}
