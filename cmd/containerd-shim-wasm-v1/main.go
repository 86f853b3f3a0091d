// Command containerd-shim-wasm-v1 is a containerd shim that runs WebAssembly
// and native containers side by side. containerd executes it; see package shim.
package main

import (
	"context"

	"github.com/wasmshim/containerd-shim-wasm/shim"
)

func main() {
	shim.Main(context.Background())
}
