// The Go runtime would keep files of the container's cgroup open for as long as
// the guest runs, and now and then stop the world to follow its CPU limit,
// which waits for a guest that computes.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command wasm-runner is the process of a Wasm container. The shim starts it;
// it is of no use by hand.
//
//	wasm-runner init     builds the sandbox and becomes "wasm-runner guest"
//	wasm-runner guest    runs the guest
//	wasm-runner compile  compiles one module into a directory
//	wasm-runner -version
//
// It must stay small: nothing of containerd, gRPC, protobuf or cgo may be
// linked into it, which a test watches.
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/wasmshim/containerd-shim-wasm/internal/version"
	"github.com/wasmshim/containerd-shim-wasm/runner"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

// The sandbox's init must stay on the main thread: namespaces, capabilities and
// labels belong to threads, /proc/self is the main thread, and execve from
// another thread would carry over what was never set on this one. Only an init
// function is sure to run there. A guest must not be tied to a thread: every
// switch of goroutines would cost a switch of threads.
func init() {
	if mode() == "init" {
		runtime.LockOSThread()
	}
}

func main() {
	switch mode() {
	case "init":
		sandbox.Init()
	case "guest":
		os.Exit(runner.Guest())
	case "compile":
		os.Exit(runner.Compile())
	case "-version", "--version":
		fmt.Println("wasm-runner", version.Version)
	default:
		fmt.Fprintln(os.Stderr, "usage: wasm-runner init|guest|compile|-version (started by containerd-shim-wasm-v1)")
		os.Exit(2)
	}
}

func mode() string {
	if len(os.Args) < 2 {
		return ""
	}
	return os.Args[1]
}
