package runner

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/runner/debug"
)

// Debug is the whole process of a built-in command in a container: it reports,
// waits for the start byte, runs the command that the workload names, and
// returns its exit code.
func Debug() int {
	socket := os.NewFile(control.SocketFD, "socket")
	var w oci.Workload
	if err := readInherited(control.WorkloadFD, &w); err != nil {
		_ = control.SendError(socket, err)
		return 1
	}
	for _, fd := range []int{control.WorkloadFD, control.ModuleFD} {
		_ = unix.Close(fd)
	}
	if err := control.SendReady(socket, nil); err != nil {
		return 1 // the shim is gone
	}
	_ = socket.Close()
	return debug.Main(w.Args, w.Env, os.Stdin, os.Stdout, os.Stderr)
}
