package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// shimPathFile is where containerd writes, in the bundle of what it starts a shim
// for, which program that is.
const shimPathFile = "shim-binary-path"

// noteShimPath writes the same into the bundle of a container that joins the shim of
// its Pod. There containerd 2.4 leaves it out, and after a restart looks for
// the shim by the runtime's name, in its PATH: where `runtime_path` names the shim
// and PATH does not have it, it would forget a running container.
//
// A shim's working directory is the bundle that it was started for.
func noteShimPath(bundle string) error {
	noted, err := os.ReadFile(shimPathFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not started by containerd
	}
	if err != nil {
		return fmt.Errorf("read which program the shim is: %w", err)
	}
	path := filepath.Join(bundle, shimPathFile)
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := os.WriteFile(path, noted, 0o600); err != nil {
		_ = os.Remove(path) // half a path is no shim's
		return fmt.Errorf("note which program the shim is: %w", err)
	}
	return nil
}
