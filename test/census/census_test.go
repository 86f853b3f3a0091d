package census

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestProcessesFindsMarkedOnesAndTheirChildren(t *testing.T) {
	scope := Scope{Mark: "CENSUS_TEST=" + t.Name(), Namespace: "census-test", Dir: t.TempDir()}
	// The child of the shell clears its environment.
	cmd := exec.Command("sh", "-c", "env -i sleep 60 & echo started; wait")
	cmd.Env = append(os.Environ(), scope.Mark)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	pids, err := scope.Processes()
	if err != nil {
		t.Fatal(err)
	}
	if len(pids) != 2 {
		t.Errorf("found %v, want the shell %d and its child", pids, cmd.Process.Pid)
	}
	if err := scope.Sweep(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if pids, _ = scope.Processes(); len(pids) != 0 {
		t.Errorf("left after the sweep: %v", pids)
	}
}

func TestSinceNamesNewFilesOnly(t *testing.T) {
	dir := t.TempDir()
	scope := Scope{Mark: "CENSUS_TEST=" + t.Name(), Namespace: "census-test", Dir: dir, Watch: []string{dir}}
	if err := os.WriteFile(filepath.Join(dir, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := Take(scope)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := Take(scope)
	if err != nil {
		t.Fatal(err)
	}
	left := after.Since(before)
	if len(left) != 1 || !strings.HasSuffix(left[0], "/new") {
		t.Errorf("got %q, want the new file alone", left)
	}
}
