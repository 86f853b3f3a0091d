package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"google.golang.org/protobuf/proto"

	"github.com/wasmshim/containerd-shim-wasm/shim/deleted"
)

// recordFile marks a bundle as that of a Wasm container. `delete` cleans up by
// it after a shim that died.
const recordFile = "wasm.json"

// record is what `delete` needs to undo a Create of which it knows nothing
// else. It is written before the first thing that it names is made.
type record struct {
	// Cgroup is the path of the container's cgroup as the spec names it.
	// Every process of the container is in there.
	Cgroup string `json:"cgroup"`
	// Pid is that of the init; 0 until it was started.
	Pid int `json:"pid,omitempty"`
}

func writeRecord(bundle string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(bundle, recordFile), b)
}

// writeWhole writes a file that is there with all its bytes or as it was.
func writeWhole(path string, b []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		_ = os.Remove(tmp) // a full disk takes the name and not the bytes
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// readRecord returns nil when the bundle is not that of a Wasm container.
func readRecord(bundle string) (*record, error) {
	path := filepath.Join(bundle, recordFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return &r, nil
}

// leaveAnswer tells a later `delete` that nothing of the container is left but its
// bundle.
func leaveAnswer(bundle string, response *taskapi.DeleteResponse) error {
	b, err := proto.Marshal(response)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(bundle, deleted.File), b)
}

// takeAnswerBack is for a bundle that is used again.
func takeAnswerBack(bundle string) error {
	if err := os.Remove(filepath.Join(bundle, deleted.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("use a bundle again: %w", err)
	}
	return nil
}
