package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// packIn runs wasmctl pack in a new directory that holds a module, app.wasm,
// and a component, component.wasm.
func packIn(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, data := range map[string]string{"app.wasm": "\x00asm\x01\x00\x00\x00", "component.wasm": "\x00asm\x0d\x00\x01\x00", "site": "hi"} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errOut bytes.Buffer
	code = execute(append([]string{"wasmctl", "pack"}, args...), &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestPackWritesATarNamedAfterTheImage(t *testing.T) {
	code, stdout, stderr := packIn(t, "app.wasm", "-t", "ghcr.io/acme/hello:v1")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if !strings.HasPrefix(stdout, "ghcr.io/acme/hello:v1\n  image  sha256:") {
		t.Errorf("stdout: %q", stdout)
	}
	st, err := os.Stat("hello.tar")
	if err != nil {
		t.Fatal(err)
	}
	if want := 0o666 &^ umask(); st.Mode().Perm() != want {
		t.Errorf("the file has mode %o, want %o", st.Mode().Perm(), want)
	}
	if left, _ := filepath.Glob(".hello*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestPackWritesToStdout(t *testing.T) {
	code, stdout, stderr := packIn(t, "app.wasm", "-t", "app", "-o", "-")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if hdr, err := tar.NewReader(strings.NewReader(stdout)).Next(); err != nil || hdr.Name != "oci-layout" {
		t.Errorf("stdout is not an image: %v, %v", hdr, err)
	}
}

func TestPackTakesItsTimeFromTheEnvironment(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	_, stdout, _ := packIn(t, "app.wasm", "-t", "app", "-o", "-")
	hdr, err := tar.NewReader(strings.NewReader(stdout)).Next()
	if err != nil || hdr.ModTime.Unix() != 1700000000 {
		t.Errorf("got %v, %v", hdr, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	code, _, stderr := packIn(t, "app.wasm", "-t", "app")
	if code != 1 || !strings.Contains(stderr, `SOURCE_DATE_EPOCH "yesterday" is not a number`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestValuesMayHoldCommas(t *testing.T) {
	code, stdout, stderr := packIn(t, "app.wasm", "-t", "app", "-o", "-", "--env", "HOSTS=a,b")
	if code != 0 || !strings.Contains(stdout, `"Env":["HOSTS=a,b"]`) {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestPackFailsInOneLine(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no module", []string{"-t", "app"}, "pack takes one module, got 0"},
		{"two modules", []string{"app.wasm", "app.wasm", "-t", "app"}, "pack takes one module, got 2"},
		{"no name", []string{"app.wasm"}, "the image needs a name; give it with -t"},
		{"a bad name", []string{"app.wasm", "-t", "App"}, `image name "App"`},
		{"a missing module", []string{"gone.wasm", "-t", "app"}, "open gone.wasm: no such file or directory"},
		{"a component", []string{"component.wasm", "-t", "app"}, "component.wasm is a WebAssembly component; this runtime runs core modules for now; build for wasm32-wasip1 instead of wasip2"},
		{"not Wasm", []string{"site", "-t", "app"}, "site is a text file, not a WebAssembly module; build it for the target wasm32-wasip1"},
		{"a label without a value", []string{"app.wasm", "-t", "app", "--label", "x"}, `--label "x" is not of the form KEY=VALUE`},
		{"a label twice", []string{"app.wasm", "-t", "app", "-l", "x=1", "-l", "x=2"}, "--label x is given twice"},
		{"a variable without a value", []string{"app.wasm", "-t", "app", "-e", "x"}, `environment variable "x" is not of the form NAME=VALUE`},
		{"a file without a place", []string{"app.wasm", "-t", "app", "--file", "site"}, `--file "site" is not of the form HOST:GUEST`},
		{"a bad platform", []string{"app.wasm", "-t", "app", "--platform", "arm64"}, `--platform "arm64" is not of the form OS/ARCHITECTURE`},
		{"an unknown flag", []string{"app.wasm", "-t", "app", "--nope"}, "flag provided but not defined: -nope; see wasmctl pack --help"},
		{"a directory as the output", []string{"app.wasm", "-t", "app", "-o", "."}, "is a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := packIn(t, tt.args...)
			if code != 1 || stdout != "" {
				t.Errorf("exit code %d, stdout %q", code, stdout)
			}
			if !strings.HasPrefix(stderr, "wasmctl: ") || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("stderr %q, want one line with %q", stderr, tt.want)
			}
			if left, _ := filepath.Glob("*.tar*"); left != nil {
				t.Errorf("left behind: %v", left)
			}
			if left, _ := filepath.Glob(".*"); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestAFailureLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.tar")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := writeFile(path, func(w io.Writer) error {
		io.WriteString(w, "half")
		return errors.New("interrupted")
	})
	if err == nil {
		t.Error("no error")
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("the file holds %q", b)
	}
}

func TestAFIFOIsWrittenInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 1)
	go func() {
		b, _ := os.ReadFile(path)
		got <- b
	}()
	if err := writeFile(path, func(w io.Writer) error { _, err := io.WriteString(w, "all"); return err }); err != nil {
		t.Fatal(err)
	}
	if b := <-got; string(b) != "all" {
		t.Errorf("the reader got %q", b)
	}
}

func TestNoImageGoesToATerminal(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	defer pty.Close()
	if !isTerminal(pty) {
		t.Error("a pseudo terminal is not recognised")
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("app.wasm", []byte("\x00asm\x01\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	if code := execute([]string{"wasmctl", "pack", "app.wasm", "-t", "app", "-o", "-"}, pty, &errOut); code != 1 || !strings.Contains(errOut.String(), "not written to a terminal") {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
}
