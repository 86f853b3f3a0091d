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
		var undo undoStack
		if err := writeBinaryPath(bundle, &undo); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(bundle, binaryFile)); err != nil || string(b) != want {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
		undo.run()
		if _, err := os.Stat(filepath.Join(bundle, binaryFile)); (err == nil) != (bundle == first) {
			t.Errorf("after a Create that failed: %v", err)
		}
	}
}
