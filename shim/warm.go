package shim

import (
	"os"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"google.golang.org/protobuf/proto"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// warm does beside the start of a server what its first Create would do for the
// first time: a second one takes a millisecond less. Nothing depends on it, and
// what fails here fails again where it is told.
func warm() {
	// What takes its time is that encoding/json learns the types of a spec. The
	// working directory is the bundle of the first container.
	_, _ = oci.ReadSpec(".")
	_ = proto.Unmarshal(nil, new(taskapi.CreateTaskRequest))
	_, _ = compile.Build()
	// Package os tries once, by a child, whether it can have pidfds.
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Release()
	}
}
