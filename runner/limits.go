package runner

import (
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// limitCompilation ends this process, with a report, when a compilation takes
// more time than it may. Memory is what the kernel refuses beyond its
// RLIMIT_DATA, which whoever starts the process has set; the collector is told
// to stay below.
func limitCompilation(l control.CompileLimits, module string, socket *os.File) error {
	_, err := limitTime(l, module, socket)
	if l.Memory > 0 {
		debug.SetMemoryLimit(l.Memory / 4 * 3)
	}
	return err
}

// limitOwnCompilation does the same for a process that goes on after it: all of
// the limits end with leave. A guest's process that cannot use compiled code has
// been preceded by a compile process which could make it. It holds so many bytes
// already.
func limitOwnCompilation(l control.CompileLimits, held uint64, module string, socket *os.File) (leave func(), err error) {
	leaveTime, err := limitTime(l, module, socket)
	if err != nil || l.Memory <= 0 {
		return leaveTime, err
	}
	// RLIMIT_DATA counts private memory that can be written; RLIMIT_AS would
	// count the addresses that Go reserves, too.
	restore, err := lower(unix.RLIMIT_DATA, uint64(l.Memory)+held)
	if err != nil {
		leaveTime()
		return nil, err
	}
	return func() {
		restore()
		leaveTime()
	}, nil
}

// limitTime bounds processor time and time.
func limitTime(l control.CompileLimits, module string, socket *os.File) (leave func(), err error) {
	if l.Time <= 0 {
		return func() {}, nil
	}
	used := processorTime()
	restore, err := lower(unix.RLIMIT_CPU, uint64(math.Ceil((used + l.Time).Seconds())))
	if err != nil {
		return nil, err
	}
	// The kernel sends it every second once the limit is passed.
	exceeded := make(chan os.Signal, 1)
	signal.Notify(exceeded, unix.SIGXCPU)
	timer := time.NewTimer(control.WallFactor * l.Time)
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		select {
		case <-exceeded:
			_ = control.SendError(socket, control.Errorf(control.ResourceExhausted,
				"%s takes more than %v of processor time to compile; make the module smaller, or raise the runtime option CompileTime", module, l.Time))
		case <-timer.C:
			_ = control.SendError(socket, control.Errorf(control.ResourceExhausted,
				"%s takes more than %v to compile; give the container more of a processor, or raise the runtime option CompileTime", module, control.WallFactor*l.Time))
		case <-done:
			return
		}
		os.Exit(1)
	})
	return func() {
		restore()
		signal.Stop(exceeded)
		timer.Stop()
		close(done)
		ended.Wait()
	}, nil
}

// lower lowers a soft limit to at most value.
func lower(resource int, value uint64) (restore func(), err error) {
	var before unix.Rlimit
	if err := unix.Prlimit(0, resource, nil, &before); err != nil {
		return nil, os.NewSyscallError("prlimit", err)
	}
	after := unix.Rlimit{Cur: min(value, before.Cur), Max: before.Max}
	if err := unix.Prlimit(0, resource, &after, nil); err != nil {
		return nil, os.NewSyscallError("prlimit", err)
	}
	// The hard limit stays, so that this cannot fail.
	return func() { _ = unix.Prlimit(0, resource, &before, nil) }, nil
}

// processorTime is what the process has used so far.
func processorTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

func outOfMemory(module string, l control.CompileLimits) error {
	return control.Errorf(control.ResourceExhausted,
		"%s takes more than %s of memory to compile; make the module smaller, or raise the runtime option CompileMemory", module, size(uint64(l.Memory)))
}
