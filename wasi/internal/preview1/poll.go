package preview1

import (
	"encoding/binary"
	"math"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
)

// Layout of a subscription and of an event, and their tags (witx, eventtype).
const (
	subscriptionSize = 48
	eventSize        = 32

	eventClock   = 0
	eventFdRead  = 1
	eventFdWrite = 2

	eventHangup   = 1
	clockAbsolute = 1
)

// poll_oneoff(in, out, nsubscriptions, nevents*), and WasmEdge's epoll_oneoff.
// It reports everything that is ready at the moment it returns. A descriptor
// that is not open is an event with an error, never a failed call.
func pollOneoff(h *Host, s []uint64) Errno {
	n := uint32(s[2])
	if n == 0 {
		return errInval
	}
	if uint64(n)*subscriptionSize > math.MaxUint32 {
		return errFault
	}
	in, ok := h.bytes(s[0], uint64(n)*subscriptionSize)
	if !ok || !h.fits(s[1], n*eventSize) || !h.fits(s[3], 4) {
		return errFault
	}
	h.started = h.clock.Monotonic()
	for {
		if e := h.poller.Wait(h.subscribe(in)); e != 0 {
			return errno(e)
		}
		// The wait may have been long; look at the memory again.
		in, _ = h.bytes(s[0], uint64(n)*subscriptionSize)
		out, _ := h.bytes(s[1], uint64(n)*eventSize)
		if fired := h.report(in, out); fired > 0 {
			return h.put32(s[3], fired)
		}
		// The realtime was set back, or goes slower than the clock of the wait.
	}
}

// subscribe fills the poller and returns until when to wait.
func (h *Host) subscribe(in []byte) (deadline int64) {
	h.poller.Reset()
	deadline = descriptor.Never
	now := h.clock.Monotonic()
	for ; len(in) >= subscriptionSize; in = in[subscriptionSize:] {
		switch tag := in[8]; tag {
		case eventClock:
			at, e := h.deadline(in, now)
			if e != success {
				at = 0
			}
			deadline = min(deadline, at)
		case eventFdRead, eventFdWrite:
			d := h.Descriptors.Get(le32(in[16:]))
			if d == nil {
				deadline = 0
				continue
			}
			h.poller.Add(d, tag == eventFdWrite)
		default:
			deadline = 0
		}
	}
	return deadline
}

// deadline returns when a clock subscription fires, on the monotonic clock.
func (h *Host) deadline(sub []byte, now int64) (int64, Errno) {
	timeout := le64(sub[24:])
	absolute := binary.LittleEndian.Uint16(sub[40:])&clockAbsolute != 0
	var clock int64
	from := now
	switch id := le32(sub[16:]); {
	case id == clockProcessCPU || id == clockThreadCPU:
		return 0, errNotsup
	case id > clockThreadCPU:
		return 0, errInval
	case !absolute:
		from = h.started
	case id == clockRealtime:
		clock = h.clock.Realtime()
	default:
		clock = now
	}
	if timeout > math.MaxInt64 {
		return descriptor.Never, success
	}
	wait := max(int64(timeout)-clock, 0)
	if wait > descriptor.Never-from {
		return descriptor.Never, success
	}
	return from + wait, success
}

// report writes the events of what fired and returns their number.
func (h *Host) report(in, out []byte) uint32 {
	var fired uint32
	now := h.clock.Monotonic()
	few := len(in) <= 2*subscriptionSize
	for ; len(in) >= subscriptionSize; in = in[subscriptionSize:] {
		var e Errno
		var bytes uint64
		var flags uint16
		tag := in[8]
		switch tag {
		case eventClock:
			var at int64
			at, e = h.deadline(in, now)
			if e == success && at > now {
				continue
			}
		case eventFdRead, eventFdWrite:
			d := h.Descriptors.Get(le32(in[16:]))
			if d == nil {
				e = errBadf
				break
			}
			ready, hangup := h.poller.Ready(d, tag == eventFdWrite)
			if !ready {
				continue
			}
			if hangup {
				flags = eventHangup
			}
			bytes = 1
			// Only ioctl(FIONREAD) of wasi-libc looks at this, and asks for nothing
			// else at the same time.
			if tag == eventFdRead && few {
				if n, ok := d.Waiting(); ok {
					bytes = uint64(n)
				}
			}
		default:
			e = errInval
		}
		event := out[fired*eventSize:][:eventSize]
		clear(event)
		copy(event, in[:8])
		binary.LittleEndian.PutUint16(event[8:], uint16(e))
		event[10] = tag
		binary.LittleEndian.PutUint64(event[16:], bytes)
		binary.LittleEndian.PutUint16(event[24:], flags)
		fired++
	}
	return fired
}
