package shim

import (
	"os"
	"path/filepath"
	"testing"
)

// That a restarted containerd goes by the file is in test/cluster, where the chart is
// upgraded under a Pod.
func TestBundleNamesTheBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	joined, first := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(first, binaryFile), []byte("/by/containerd"), 0o600); err != nil {
		t.Fatal(err)
	}
	for bundle, want := range map[string]string{joined: self, first: "/by/containerd"} {
		if err := writeBinaryPath(bundle); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(bundle, binaryFile)); err != nil || string(b) != want {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
	}
}
