package shim

import (
	"os"
	"path/filepath"
	"testing"
)

// That a restarted containerd goes by the file is shown behind real daemons.
func TestABundleThatJoinsAShimSaysWhichProgramItIs(t *testing.T) {
	const program = "/opt/shim/current/containerd-shim-wasm-v1"
	t.Chdir(t.TempDir())
	joined := t.TempDir()
	var undo undoStack
	noted := func() string {
		b, _ := os.ReadFile(filepath.Join(joined, shimPathFile))
		return string(b)
	}
	if err := noteShimPath(joined, &undo); err != nil || noted() != "" {
		t.Errorf("without a note of containerd there is %q, %v", noted(), err)
	}
	if err := os.WriteFile(shimPathFile, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := noteShimPath(joined, &undo); err != nil || noted() != program {
		t.Errorf("it says %q, %v", noted(), err)
	}
	if undo.run(); noted() != "" {
		t.Errorf("after a Create that failed it says %q", noted())
	}
	// containerd's own note of another shim stays.
	if err := os.WriteFile(filepath.Join(joined, shimPathFile), []byte("/other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := noteShimPath(joined, &undo); err != nil || noted() != "/other" {
		t.Errorf("it says %q, %v", noted(), err)
	}
	if undo.run(); noted() != "/other" {
		t.Errorf("after a Create that failed it says %q", noted())
	}
}
