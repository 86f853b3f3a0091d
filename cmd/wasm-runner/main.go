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
//	wasm-runner debug    runs a built-in command in a container
//	wasm-runner -version
//
// It must stay small: nothing of containerd, gRPC, protobuf or cgo may be
// linked into it, which a test watches.
package main

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/version"
	"github.com/wasmshim/containerd-shim-wasm/runner"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

// The sandbox's init must stay on the main thread: namespaces, capabilities and
// labels belong to threads, /proc/self is the main thread, and execve from
// another thread would carry over what was never set on this one. Only an init
// function is sure to run there. The guest stays on it for its table of
// descriptors, which is the one of /proc/self.
//
// The main thread also carries the process's name: before Linux 6.14 a program
// that is executed by descriptor is called by the descriptor's number.
func init() {
	switch mode() {
	case "init":
		runtime.LockOSThread()
	case "guest":
		runtime.LockOSThread()
		fallthrough
	case "debug":
		name := [...]byte{'w', 'a', 's', 'm', '-', 'r', 'u', 'n', 'n', 'e', 'r', 0}
		// Of no consequence but for ps and pgrep.
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
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
	case "debug":
		os.Exit(runner.Debug())
	case "-version", "--version":
		fmt.Println("wasm-runner", version.Version)
	default:
		fmt.Fprintln(os.Stderr, "usage: wasm-runner init|guest|compile|debug|-version (started by containerd-shim-wasm-v1)")
		os.Exit(2)
	}
}

func mode() string {
	if len(os.Args) < 2 {
		return ""
	}
	return os.Args[1]
}
