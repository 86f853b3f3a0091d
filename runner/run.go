package runner

import (
	"context"
	"os"

	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// Options is what Run needs beside the workload.
type Options struct {
	// CacheDir is a directory for compiled code that nobody else can write;
	// empty compiles in memory.
	CacheDir string
	// Stdin, Stdout and Stderr are the guest's; nil reads as empty and discards.
	// A trap is printed on Stderr.
	Stdin, Stdout, Stderr *os.File
}

// Run runs a module in the calling process, without a sandbox, and returns the
// guest's exit code in its full 32 bits; a trap is ExitTrap. An error is a
// *control.Error with one sentence about why the guest did not run.
//
// The module may be changed; it must not be used again.
//
// The guest cannot be interrupted by the context: end the process for that.
func Run(ctx context.Context, module []byte, w *oci.Workload, o Options) (exitCode uint32, err error) {
	p, err := load(ctx, module, w, options{
		stdin:  o.Stdin,
		stdout: o.Stdout,
		stderr: o.Stderr,
		cache:  o.CacheDir,
	})
	if err != nil {
		return 0, err
	}
	defer p.close(ctx)
	return p.run(ctx), nil
}
