package oci

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// maxSpec bounds config.json, in bytes. containerd cannot send more: a gRPC
// message of its API has the same limit.
const maxSpec = 16 << 20

// ReadSpec reads the config.json of a bundle. The error is a *control.Error:
// NotFound without such a file, InvalidArgument when it is not an OCI spec.
func ReadSpec(bundle string) (*specs.Spec, error) {
	path := filepath.Join(bundle, "config.json")
	f, err := os.Open(path)
	if err != nil {
		class := control.Internal
		if errors.Is(err, fs.ErrNotExist) {
			class = control.NotFound
		}
		return nil, control.Errorf(class, "read the OCI spec: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSpec+1))
	if err != nil {
		return nil, control.Errorf(control.Internal, "read the OCI spec: %w", err)
	}
	if len(b) > maxSpec {
		return nil, control.Errorf(control.InvalidArgument,
			"%s is larger than %d MiB; an OCI spec must be smaller", path, maxSpec>>20)
	}
	var spec specs.Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		return nil, control.Errorf(control.InvalidArgument, "%s is not an OCI spec: %w", path, err)
	}
	return &spec, nil
}

// Annotations that say which containers share a shim.
const (
	groupAnnotation   = "io.containerd.runc.v2.group"
	sandboxAnnotation = "io.kubernetes.cri.sandbox-id"
)

// GroupID returns the name of the group of containers that container id
// belongs to: containers of one group share one shim. It reads the same
// annotations in the same order as containerd's runc shim, so that a Pod of
// Wasm and native containers has one shim. Without them it is id itself.
func GroupID(annotations map[string]string, id string) string {
	for _, key := range []string{groupAnnotation, sandboxAnnotation} {
		if v := annotations[key]; v != "" {
			return v
		}
	}
	return id
}
