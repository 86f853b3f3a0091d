package launch

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// RunnerName is the runner's binary, which is installed beside those that start
// it.
const RunnerName = "wasm-runner"

// Runner finds the runner. Its errors are those of Program.
func Runner() (string, error) { return Program(RunnerName) }

// Program finds one of the project's programs beside this one, or in PATH as runc
// is found: containerd may have been given a copy of the shim alone.
//
// Errors: a *control.Error of class Unavailable when it is in neither place.
func Program(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own binary: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return "", control.Errorf(control.Unavailable, "%s is missing; install it beside %s or in PATH", path, filepath.Base(self))
	}
	return found, nil
}
