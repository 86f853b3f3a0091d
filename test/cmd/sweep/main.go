// Command sweep removes what tests left that were killed before they could: their
// daemons with all processes, mounts, cgroups and files. Running tests are not
// touched.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

func main() {
	swept, err := daemon.SweepAbandoned(context.Background())
	for _, dir := range swept {
		fmt.Println("sweep: removed the daemon of", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sweep:", err)
		os.Exit(1)
	}
}
