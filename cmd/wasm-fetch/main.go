// Command wasm-fetch gets a module that is a layer of a container's image out of
// containerd. The shim starts it; it is of no use by hand.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/wasmshim/containerd-shim-wasm/fetch"
	"github.com/wasmshim/containerd-shim-wasm/internal/layerfile"
	"github.com/wasmshim/containerd-shim-wasm/internal/version"
)

func main() {
	if len(os.Args) > 1 && (os.Args[1] == "-version" || os.Args[1] == "--version") {
		fmt.Println(layerfile.Program, version.Version)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := fetch.Main(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v (it is started by containerd-shim-wasm-v1)\n", layerfile.Program, err)
		os.Exit(1)
	}
}
