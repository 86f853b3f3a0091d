package descriptor

import (
	"math"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// Never is the deadline of a wait without one.
const Never = math.MaxInt64

// Poller waits for descriptors, with one ppoll(2).
//
// # Notes
//
//   - A guest that was told that it can write to a socket, and asks again without
//     having tried to, gets the repeated answer with a delay: what polls every
//     connection for reading and writing in every round, as the WasmEdge fork of
//     mio does, would otherwise spin as long as it has one idle connection.
//     Reading, deadlines and first answers are never delayed, and the first answer
//     after something was received or sent is a first one again.
type Poller struct {
	// Eager switches that delay off.
	Eager bool

	clock *Clock
	fds   []unix.PollFd
	descs []*Descriptor
	// number is that of the poll, so that descriptors know whether they are part.
	// It begins with 1, and 32 bits would be 0 again after some hours.
	number uint64
	// instant tells that something is ready that the kernel does not know of.
	instant bool
}

// NewPoller returns a poller.
func NewPoller(c *Clock) *Poller { return &Poller{clock: c} }

// Reset begins a new set.
func (p *Poller) Reset() {
	p.number++
	p.fds, p.descs, p.instant = p.fds[:0], p.descs[:0], false
}

// Add adds interest in reading or writing. A descriptor may be added more than
// once.
func (p *Poller) Add(d *Descriptor, write bool) {
	if d.poll != p.number {
		d.poll, d.slot = p.number, len(p.fds)
		p.fds = append(p.fds, unix.PollFd{Fd: int32(d.fd)})
		p.descs = append(p.descs, d)
		p.instant = p.instant || d.fd < 0
	}
	if write {
		p.fds[d.slot].Events |= unix.POLLOUT
	} else {
		p.fds[d.slot].Events |= unix.POLLIN
	}
}

// Wait waits until a descriptor is ready or the monotonic clock reaches the
// deadline. What is ready is found in any case.
func (p *Poller) Wait(deadline int64) unix.Errno {
	if p.instant {
		deadline = 0
	}
	n, e := p.poll(deadline)
	if e == 0 && n > 0 {
		if patience := p.patience(n); patience > 0 && !p.instant {
			e = p.waitBesides(min(deadline, p.clock.Monotonic()+patience))
		}
	}
	for i, d := range p.descs {
		if d.fd < 0 {
			p.fds[i].Revents = p.fds[i].Events
		}
		if p.fds[i].Revents&p.fds[i].Events&unix.POLLOUT != 0 && d.writes < math.MaxUint8 {
			d.writes++
		}
	}
	return e
}

// Ready tells of a descriptor in the set, after Wait, whether it is ready and
// whether it is dead in both directions or its connection failed.
func (p *Poller) Ready(d *Descriptor, write bool) (ready, hangup bool) {
	if d.poll != p.number {
		return false, false
	}
	got := p.fds[d.slot].Revents
	hangup = got&unix.POLLHUP != 0
	event := int16(unix.POLLIN)
	if write {
		event = unix.POLLOUT
	}
	return hangup || got&(event|unix.POLLERR|unix.POLLNVAL) != 0, hangup
}

// briefWait is how long a wait may take without the Go scheduler's knowledge, in
// ns. A busy server hardly ever waits longer, and what its scheduler does about
// a thread that waits costs more than the wait: it looks at it every 20 µs, and
// takes its processor away.
const briefWait = 4e6

// poll returns how many descriptors are ready.
func (p *Poller) poll(deadline int64) (int, unix.Errno) {
	wait := max(deadline-p.clock.Monotonic(), 0)
	brief := unix.NsecToTimespec(min(wait, briefWait))
	ready, e := kernel.PpollBriefly(p.fds, &brief)
	if e != unix.EINTR && (e != 0 || ready > 0 || wait <= briefWait) {
		return int(ready), e
	}
	for {
		var timeout *unix.Timespec
		var ts unix.Timespec
		if deadline != Never {
			ts = unix.NsecToTimespec(max(deadline-p.clock.Monotonic(), 0))
			timeout = &ts
		}
		n, e := kernel.Ppoll(p.fds, timeout)
		if e != unix.EINTR {
			return n, e
		}
	}
}

// Delays of a repeated answer: none for the first, then doubling from the one to
// the other, in ns. Each answer costs 1 ms of a processor, most of it in the Go
// scheduler's monitor, which looks around for a while whenever something runs.
const (
	minDelay = 1e6
	maxDelay = 1000e6
)

// patience is how long to wait for something better when all n descriptors that
// are ready can only be written to, which the guest knows.
func (p *Poller) patience(n int) int64 {
	if p.Eager {
		return 0
	}
	shortest := int64(maxDelay)
	for i := range p.fds {
		if p.fds[i].Revents == 0 {
			continue
		}
		d := p.descs[i]
		if p.fds[i].Revents != unix.POLLOUT || d.writes < 2 || !d.IsSocket() {
			return 0
		}
		shortest = min(shortest, minDelay<<min(d.writes-2, 10))
		if n--; n == 0 {
			break
		}
	}
	return shortest
}

// waitBesides waits for anything but what is ready already, which it reports in
// the end as well.
func (p *Poller) waitBesides(deadline int64) unix.Errno {
	for i := range p.fds {
		if p.fds[i].Revents != 0 {
			p.fds[i].Events &^= unix.POLLOUT
			p.descs[i].held = true
		}
	}
	_, e := p.poll(deadline)
	for i, d := range p.descs {
		if d.held {
			d.held = false
			p.fds[i].Events |= unix.POLLOUT
			p.fds[i].Revents |= unix.POLLOUT
		}
	}
	return e
}
