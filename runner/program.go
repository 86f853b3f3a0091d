package runner

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/wasi"
)

// program is one guest ready to run, with one implementation per kind of
// binary.
type program interface {
	// run runs the guest to its end and returns its exit code, the full 32 bits
	// of it. A trap has been printed on the guest's stderr and is ExitTrap. It
	// is called at most once.
	run(ctx context.Context) uint32
	// descriptors are the raw descriptors that were opened for the guest.
	descriptors() []int
	// close frees what the guest holds.
	close(ctx context.Context)
}

// options is what a guest gets beside its description.
type options struct {
	// stdin, stdout and stderr are the guest's, and a trap is printed on stderr;
	// nil reads as empty and discards.
	stdin, stdout, stderr *os.File
	// termination gets what stderr gets of a trap; nil is none.
	termination *os.File
	// cache is a directory with compiled code; empty compiles in memory.
	cache string
	// signals is a socket on which the guest hears of its signals; 0 for none.
	signals int
	// limit puts the process, which holds so many bytes for the guest, within the
	// limits of a compilation, and returns how to leave them; nil is no limit.
	limit func(held uint64) (leave func(), err error)
}

// load makes a guest ready: after it only the guest itself can fail. Its error
// is a *control.Error with the sentence for the user. The binary may be changed,
// and is not used any more when it returns.
func load(ctx context.Context, binary []byte, w *oci.Workload, o options) (program, error) {
	info, err := inspect(binary, w.Module)
	if err != nil {
		return nil, err
	}
	return loadCore(ctx, binary, info, w, o)
}

// newHost prepares what the guest finds in its host.
func newHost(w *oci.Workload, o options) (*wasi.Host, error) {
	c := wasi.Config{Args: w.Args, Env: w.Env, Listeners: w.Listeners, Outbound: w.Outbound, DNSServer: w.DNSServer, Stdin: int(o.stdin.Fd()), Stdout: int(o.stdout.Fd()), Stderr: int(o.stderr.Fd())}
	c.MaxDescriptors, c.MaxDirectories = w.MaxFiles, min(w.MaxFiles, wasi.DefaultMaxDirectories)
	if o.signals != 0 {
		c.Streams = append(c.Streams, wasi.Stream{FD: o.signals, Variable: signalVariable})
	}
	for _, p := range w.Preopens {
		c.Preopens = append(c.Preopens, wasi.Preopen{Host: p.Host, Guest: p.Guest, ReadOnly: p.ReadOnly})
	}
	h, err := wasi.NewHost(c)
	switch {
	case err == nil:
		return h, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, control.Errorf(control.NotFound, "%s: %w; create it in the image, or mount a volume there", w.Module, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, control.Errorf(control.InvalidArgument, "%s: %w; give the container's user the right to do that", w.Module, err)
	}
	return nil, control.Errorf(control.InvalidArgument, "%s: %w; correct the container's configuration", w.Module, err)
}

// fromSystem tells that an error is the system's (a file, memory), not the
// module's.
func fromSystem(err error) bool {
	_, errno := errors.AsType[syscall.Errno](err)
	_, path := errors.AsType[*fs.PathError](err)
	return errno || path
}

// signalVariable tells a guest by which descriptor it reads its signals.
const signalVariable = "WASI_SIGNAL_FD"
