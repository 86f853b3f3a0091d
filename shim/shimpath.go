package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// shimPathFile is where containerd writes, in the bundle of what it starts a shim
// for, which program that is (loadShim of core/runtime/v2, since 1.6).
const shimPathFile = "shim-binary-path"

// noteShimPath writes the same into the bundle of a container that joins the shim of
// its Pod. There containerd (1.7 to 2.4) leaves it out, and after a restart looks for
// the shim by the runtime's name, in its PATH: where `runtime_path` names the shim
// and PATH does not have it, it would forget a running container.
//
// A shim's working directory is the bundle that it was started for. What containerd
// noted there is passed on as it is, since an upgrade may have moved this program.
func noteShimPath(bundle string, undo *undoStack) error {
	noted, err := os.ReadFile(shimPathFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not started by containerd
	}
	if err != nil {
		return fmt.Errorf("read which program the shim is: %w", err)
	}
	path := filepath.Join(bundle, shimPathFile)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeWhole(path, noted); err != nil {
		return fmt.Errorf("note which program the shim is: %w", err)
	}
	undo.push(func() { _ = os.Remove(path) })
	return nil
}
