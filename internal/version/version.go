// Package version holds the version of the programs of this project.
package version

// Version is set when a release is linked:
//
//	-ldflags "-X github.com/wasmshim/containerd-shim-wasm/internal/version.Version=v1.2.3"
var Version = "dev"
