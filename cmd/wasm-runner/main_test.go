package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goCommand runs the go command for a static build in this package.
func goCommand(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

func TestNothingLargeIsLinkedIn(t *testing.T) {
	for dep := range strings.FieldsSeq(goCommand(t, "list", "-deps", ".")) {
		for _, banned := range []string{
			"github.com/containerd/", "github.com/sirupsen/", "google.golang.org/", "runtime/cgo",
			"net/http", "text/template", "encoding/xml", "regexp", "crypto/tls", "math/big",
		} {
			if strings.HasPrefix(dep, banned) {
				t.Errorf("%s is linked in", dep)
			}
		}
	}
}

func TestCommandLine(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "wasm-runner")
	goCommand(t, "build", "-ldflags", "-X github.com/wasmshim/containerd-shim-wasm/internal/version.Version=v1.2.3", "-o", bin, ".")
	out, err := exec.Command(bin, "-version").CombinedOutput()
	if string(out) != "wasm-runner v1.2.3\n" || err != nil {
		t.Errorf("-version prints %q, %v", out, err)
	}
	for _, args := range [][]string{nil, {"help"}, {""}} {
		cmd := exec.Command(bin, args...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.HasPrefix(string(out), "usage: ") {
			t.Errorf("%q exits with %d and prints %q", args, cmd.ProcessState.ExitCode(), out)
		}
	}
}
