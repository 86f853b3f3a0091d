package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/runner/debug"
)

// debugCommand is the whole process of a built-in command: it reports, waits for
// the start byte and runs the command that the workload names.
func debugCommand() int {
	socket := os.NewFile(control.SocketFD, "socket")
	w, err := readWorkload()
	if err != nil {
		_ = control.SendError(socket, err)
		return 1
	}
	_ = unix.CloseRange(control.WorkloadFD, control.ModuleFD, 0)
	if err := control.SendReady(socket); err != nil {
		return 1 // the shim is gone
	}
	_ = socket.Close()
	return debug.Main(w.Args, w.Env, os.Stdin, os.Stdout, os.Stderr)
}

func readWorkload() (*oci.Workload, error) {
	b, err := io.ReadAll(io.NewSectionReader(os.NewFile(control.WorkloadFD, "workload"), 0, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("read the workload's description: %w", err)
	}
	var w oci.Workload
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("read the workload's description: %w", err)
	}
	return &w, nil
}
