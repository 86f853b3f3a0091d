package preview1

import (
	"context"

	"github.com/tetratelabs/wazero/sys"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// args_get(argv, argv_buf)
func argsGet(h *Host, s []uint64) Errno { return h.args.get(h, s[0], s[1]) }

// args_sizes_get(argc*, size*)
func argsSizesGet(h *Host, s []uint64) Errno { return h.args.sizes(h, s[0], s[1]) }

// environ_get(environ, environ_buf)
func environGet(h *Host, s []uint64) Errno { return h.environ.get(h, s[0], s[1]) }

// environ_sizes_get(count*, size*)
func environSizesGet(h *Host, s []uint64) Errno { return h.environ.sizes(h, s[0], s[1]) }

// proc_exit(code)
func procExit(h *Host, s []uint64) Errno {
	h.exit(uint32(s[0]))
	return success
}

// exit ends the guest: nothing of it may run after.
func (h *Host) exit(code uint32) {
	_ = h.module.CloseWithExitCode(context.Background(), code)
	panic(sys.NewExitError(code))
}

// Signals of WASI (witx, signal) by what they do to a process that has no
// handler, which is every guest.
const (
	sigNone  = 0
	sigLast  = 30
	sigChld  = 16
	sigCont  = 17
	sigStop  = 18
	sigTstp  = 19
	sigTtin  = 20
	sigTtou  = 21
	sigUrg   = 22
	sigWinch = 27
)

// linuxSignal is a signal's number in Linux by its number in WASI.
var linuxSignal = [sigLast + 1]uint32{
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
}

// proc_raise(signal) has the default action of the signal: the guest ends with
// 128 and the signal's number in Linux, or nothing happens. A guest cannot stop
// itself.
func procRaise(h *Host, s []uint64) Errno {
	switch n := uint8(s[0]); n {
	case sigNone, sigChld, sigCont, sigUrg, sigWinch:
		return success
	case sigStop, sigTstp, sigTtin, sigTtou:
		return errNotsup
	default:
		if n > sigLast {
			return errInval
		}
		h.exit(128 + linuxSignal[n])
		return success
	}
}

// sched_yield()
func schedYield(*Host, []uint64) Errno {
	kernel.Yield()
	return success
}

// random_get(buf, len)
func randomGet(h *Host, s []uint64) Errno {
	b, ok := h.bytes(s[0], s[1])
	if !ok {
		return errFault
	}
	return errno(kernel.Random(b))
}

// Clocks (witx, clockid).
const (
	clockRealtime = iota
	clockMonotonic
	clockProcessCPU
	clockThreadCPU
)

// clock_res_get(id, resolution*): Linux has counted in nanoseconds for decades.
func clockResGet(h *Host, s []uint64) Errno {
	if uint32(s[0]) > clockThreadCPU {
		return errInval
	}
	return h.put64(s[1], 1)
}

// clock_time_get(id, precision, time*). A guest has one thread, which is not
// always the same one of this process: its processor time is the process's.
func clockTimeGet(h *Host, s []uint64) Errno {
	var t int64
	switch uint32(s[0]) {
	case clockRealtime:
		t = h.clock.Realtime()
	case clockMonotonic:
		t = h.clock.Monotonic()
	case clockProcessCPU, clockThreadCPU:
		t = h.clock.CPU()
	default:
		return errInval
	}
	return h.put64(s[2], uint64(t))
}
