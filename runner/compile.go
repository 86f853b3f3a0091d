package runner

import (
	"context"
	"encoding/json"
	"os"

	"github.com/tetratelabs/wazero"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Compile is the whole process that compiles one module into a directory:
// it reads a control.CompileConfig from control.ConfigFD and the module from
// control.ModuleFD, reports through control.SocketFD, and returns the exit
// code. It exists so that a hostile module meets the compiler in a process
// that has nothing else, and so that the peak of memory ends with it.
//
// It runs with the engine configuration of Guest and refuses what Guest
// refuses of a module, in the same words.
func Compile() int {
	socket := os.NewFile(control.SocketFD, "socket")
	if err := compileInto(context.Background()); err != nil {
		_ = control.SendError(socket, err)
		return 1
	}
	if err := control.SendDone(socket); err != nil {
		return 1
	}
	return 0
}

func compileInto(ctx context.Context) error {
	var c control.CompileConfig
	config := os.NewFile(control.ConfigFD, "config")
	if err := json.NewDecoder(config).Decode(&c); err != nil {
		return control.Errorf(control.Internal, "read the compiler's configuration: %w", err)
	}
	_ = config.Close()
	binary, err := readModule(control.ModuleFD, c.Module)
	if err != nil {
		return err
	}
	info, err := inspect(binary, c.Module)
	if err != nil {
		return err
	}
	cache, err := wazero.NewCompilationCacheWithDir(c.Dir)
	if err != nil {
		return control.Errorf(control.Unavailable, "%s: directory for compiled code: %w; make it writable, or run without a cache", c.Module, err)
	}
	linkVariants(info)
	_, _, err = compile(ctx, binary, info, c.Module, cache)
	if err != nil && fromSystem(err) {
		return control.Errorf(control.Unavailable, "%s: store compiled code: %w; free space in %s", c.Module, err, c.Dir)
	}
	if err != nil {
		return refuseByEngine(c.Module, info, err)
	}
	return nil
}
