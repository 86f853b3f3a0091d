package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/internal/timeline"
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/harden"
)

// Guest is the whole process of a container from the moment it is inside the
// sandbox: it makes the guest ready, reports, waits for the start byte, runs
// the guest, and returns its exit code. See package control for what it
// inherits.
func Guest() int {
	// For the table of descriptors that this thread gets below.
	runtime.LockOSThread()
	// First of all: where nothing was inherited, Go's poller may take the
	// number for itself.
	cache := isDirectory(control.CacheFD)
	marks := timeline.Inherited()
	marks.Add("runner: begins")
	// Compiled code cannot be preempted: with one processor a guest that spins
	// would keep the signals below from being seen.
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	// Nothing is ever executed from here; this is for the day that breaks it.
	_ = unix.CloseRange(control.SocketFD, control.CacheFD, unix.CLOSE_RANGE_CLOEXEC)

	ctx := context.Background()
	socket := os.NewFile(control.SocketFD, "socket")
	p, signals, err := loadInherited(ctx, cache, socket)
	if cache {
		// Before anybody hears of the process: others in its pid namespace may look
		// at what it has open. The shim has the mount open still, so that this does
		// not wait for its end.
		_ = unix.Close(control.CacheFD)
	}
	marks.Add("runner: has loaded the module")
	for _, fd := range []int{control.WorkloadFD, control.ModuleFD} {
		_ = unix.Close(fd)
	}
	if err == nil {
		err = confine()
	}
	if err != nil {
		_ = control.SendError(socket, err)
		return 1
	}
	separate(append(p.descriptors(), control.SocketFD))
	// Beside the wait for the shim this costs nobody any time. Until here a
	// signal ends the process as it ends any other.
	handled := make(chan struct{})
	go handleSignals(handled, signals)
	marks.Add("runner: is confined and ready")
	if err := control.SendReady(socket, marks); err != nil {
		// The shim is gone, and so is everybody who would want a message.
		return 1
	}
	<-handled
	_ = socket.Close()
	// Linux passes on the low eight bits of an exit code.
	return int(p.run(ctx) & 0xff)
}

// limitGarbage lets the collector run only when Go's memory exceeds what a
// module of that size needs when loaded from the cache (9 times its size at
// most), plus some for what host functions allocate.
//
// Collecting by growth, as Go does by default, would run once in every start of
// a large module and free little of use. It would also collect every two
// minutes, and a collection stops the world: it waits for a guest that computes
// without calling the host, interrupts it every 100 µs meanwhile (5 to 8
// percent of a processor were measured), and no signal is seen until it ends.
func limitGarbage(moduleSize int) {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(16<<20 + 12*int64(moduleSize))
}

// confine gives up every system call that a loaded guest's runner does not make.
// A processor without a filter of ours has the sandbox alone.
func confine() error {
	if err := harden.Harden(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return control.Errorf(control.InvalidArgument, "confine the runner: %w; let linux.seccomp allow prctl and seccomp", err)
	}
	return nil
}

// loadInherited makes the guest ready from the inherited descriptors. signals is
// nil unless the guest reads its signals.
func loadInherited(ctx context.Context, withCache bool, socket *os.File) (_ program, signals *signalStream, err error) {
	var w oci.Workload
	if err := readInherited(control.WorkloadFD, &w); err != nil {
		return nil, nil, control.Errorf(control.Internal, "read the workload's description: %w", err)
	}
	binary, err := readModule(control.ModuleFD, w.Module)
	if err != nil {
		return nil, nil, err
	}
	defer unmapModule(binary)
	limitGarbage(len(binary))
	o := options{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, limit: func(held uint64) (func(), error) {
		return limitOwnCompilation(w.Limits, held, w.Module, socket)
	}}
	if w.TerminationLog != "" {
		// Now, because a confined runner cannot. A container's user that may not
		// write there has stderr.
		o.termination, _ = os.OpenFile(w.TerminationLog, os.O_WRONLY|os.O_APPEND, 0)
	}
	if withCache {
		o.cache = inheritedCache(control.CacheFD)
	}
	if w.Signals {
		if signals, err = newSignalStream(); err != nil {
			return nil, nil, control.Errorf(control.Unavailable, "%s: make the stream of its signals: %w; raise RLIMIT_NOFILE", w.Module, err)
		}
		o.signals = signals.guest
	}
	p, err := load(ctx, binary, &w, o)
	return p, signals, err
}

// readInherited reads JSON from offset 0 whatever the file's position is: a memfd
// comes as it was written.
func readInherited(fd int, v any) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Size > maxWorkload {
		return fmt.Errorf("%d bytes are too many", st.Size)
	}
	b := make([]byte, st.Size)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return os.NewSyscallError("pread", err)
	}
	return json.Unmarshal(b[:n], v)
}

// maxWorkload exceeds what execve takes for arguments and environment.
const maxWorkload = 16 << 20
