package runner

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Compile is the whole process that compiles one module into a directory:
// it reads a control.CompileConfig from control.WorkloadFD and the module from
// control.ModuleFD, reports through control.SocketFD, and returns the exit
// code. It exists so that a hostile module meets the compiler in a process
// that has nothing else, and so that the peak of memory ends with it.
//
// It runs with the engine configuration of Guest and refuses what Guest
// refuses of a module, in the same words.
func Compile() int {
	socket := os.NewFile(control.SocketFD, "socket")
	go endWith(socket)
	if err := compileInto(context.Background(), socket); err != nil {
		_ = control.SendError(socket, err)
		return 1
	}
	if err := control.SendDone(socket); err != nil {
		return 1
	}
	return 0
}

// endWith ends this process when whoever has started it is gone: the code would
// be nobody's.
func endWith(socket *os.File) {
	// Nothing comes. Where it is no socket, but what can only be written, nothing
	// can be read either.
	if _, err := socket.Read(make([]byte, 1)); err == io.EOF {
		os.Exit(1)
	}
}

func compileInto(ctx context.Context, socket *os.File) error {
	var c control.CompileConfig
	if err := readInherited(control.WorkloadFD, &c); err != nil {
		return control.Errorf(control.Internal, "read the compiler's configuration: %w", err)
	}
	if err := limitCompilation(c.Limits, c.Module, socket); err != nil {
		return err
	}
	binary, err := readModule(control.ModuleFD, c.Module)
	if e, ok := errors.AsType[*control.Error](err); ok && e.Class == control.ResourceExhausted && c.Limits.Memory > 0 {
		return outOfMemory(c.Module, c.Limits)
	}
	if err != nil {
		return err
	}
	info, err := inspect(binary, c.Module)
	if err != nil {
		return err
	}
	cache, err := newCodeCache(c.Dir)
	if err != nil {
		return control.Errorf(control.Unavailable, "%s: directory for compiled code: %w; make it writable, or run without a cache", c.Module, err)
	}
	binary = prepare(binary, info)
	if _, _, err = compile(ctx, binary, info, c.Module, cache); err == nil {
		err = keepForSkeleton(ctx, c.Dir, binary, info, c.Module, cache)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EFBIG):
		return control.Errorf(control.ResourceExhausted, "%s compiles to more code than one module may have; make it smaller", c.Module)
	case errors.Is(err, unix.ENOMEM):
		return outOfMemory(c.Module, c.Limits)
	case fromSystem(err):
		return control.Errorf(control.Unavailable, "%s: store compiled code: %w; free space in the directory of compiled code", c.Module, err)
	}
	return refuseByEngine(c.Module, info, err)
}
