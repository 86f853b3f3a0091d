package shim

import (
	"os"
	"runtime"

	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

// leader is the main thread of a server, which may hold the namespaces of a Pod.
var leader = sandbox.NewLeader()

// Only an init function is sure to run on the main thread. What ends at once
// does without: the runtime starts another thread for a locked one.
func init() {
	switch os.Args[len(os.Args)-1] {
	case "start", "delete":
	default:
		runtime.LockOSThread()
	}
}

// besideLeader runs f on other threads and returns when it does.
func besideLeader(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	leader.Serve(done)
}
