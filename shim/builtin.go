package shim

import (
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/debugnames"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// builtIn returns the built-in command that the process names: `kubectl exec`
// shall be of use in an image without a shell.
//
// Errors: errdefs.ErrInvalidArgument for everything else. A native program is
// never run in a Wasm container.
func builtIn(spec *specs.Process) (*oci.Target, error) {
	name := spec.Args[0]
	if !debugnames.Has(name) {
		return nil, errdefs.ErrInvalidArgument.WithMessage(debugnames.Refusal(name))
	}
	// It has no binary; the descriptor is taken all the same.
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", name, err)
	}
	return &oci.Target{
		Kind:     oci.Native,
		Workload: &oci.Workload{Module: name, Args: spec.Args, Env: spec.Env, Cwd: spec.Cwd},
		Module:   null,
	}, nil
}
