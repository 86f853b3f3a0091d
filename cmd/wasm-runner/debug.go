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
	_ = unix.Close(control.ModuleFD)
	if err := control.SendReady(socket); err != nil {
		return 1 // the shim is gone
	}
	_ = socket.Close()
	return debug.Main(w.Args, w.Env, os.Stdin, os.Stdout, os.Stderr)
}

// maxWorkload exceeds what execve takes for arguments and environment.
const maxWorkload = 16 << 20

func readWorkload() (*oci.Workload, error) {
	f := os.NewFile(control.WorkloadFD, "workload")
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxWorkload))
	if err != nil {
		return nil, fmt.Errorf("read the workload's description: %w", err)
	}
	var w oci.Workload
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("read the workload's description: %w", err)
	}
	return &w, nil
}
