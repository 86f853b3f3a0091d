package shim

import (
	"runtime"

	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

// leader is the main thread of a server, which may hold the namespaces of a Pod.
var leader = sandbox.NewLeader()

// Only an init function is sure to run on the main thread.
func init() { runtime.LockOSThread() }

// besideLeader runs f on other threads and returns when it does.
func besideLeader(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	leader.Serve(done)
}
