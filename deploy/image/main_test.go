package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// staticProgram is a small program for the image.
func staticProgram(t *testing.T, dir, arch string) []byte {
	t.Helper()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-o", out, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestImage(t *testing.T) {
	program := staticProgram(t, t.TempDir(), "amd64")
	var digests []string
	for range 2 {
		bin := t.TempDir()
		for _, name := range programs {
			if err := os.WriteFile(filepath.Join(bin, name), program, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		out := filepath.Join(bin, "image.tar")
		if err := run(bin, "localhost/installer:1", out, false); err != nil {
			t.Fatal(err)
		}
		img, err := tarball.ImageFromPath(out, nil)
		if err != nil {
			t.Fatal(err)
		}
		cf, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if cf.Architecture != "amd64" || cf.OS != "linux" || cf.Config.Entrypoint[0] != "/wasm-node-installer" || !cf.Created.Time.IsZero() && cf.Created.Unix() != 0 {
			t.Errorf("config: %+v", cf)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, string(b))
	}
	if digests[0] != digests[1] {
		t.Error("two builds of the same programs differ")
	}
}

func TestImageOfUnfitProgramsIsRefused(t *testing.T) {
	amd64, arm64 := staticProgram(t, t.TempDir(), "amd64"), staticProgram(t, t.TempDir(), "arm64")
	sh, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	for says, runner := range map[string][]byte{
		"is no program": []byte("#!/bin/sh\n"), "build them together": arm64, "not static": sh,
	} {
		bin := t.TempDir()
		for _, name := range programs {
			text := amd64
			if name == "wasm-runner" {
				text = runner
			}
			if err := os.WriteFile(filepath.Join(bin, name), text, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := build(bin); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

func TestHelloOfTheImageRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), helloName)
	if err := os.WriteFile(file, hello(), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "run", "../../cmd/wasmctl", "run", file).CombinedOutput()
	if err != nil || string(out) != "WebAssembly runs on this node\n" {
		t.Errorf("%v\n%s", err, out)
	}
}
