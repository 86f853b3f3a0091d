package descriptor

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the time. It reads the system's clocks through package time,
// which needs no system call for it.
type Clock struct {
	// Now is time.Now; tests replace it.
	Now   func() time.Time
	start time.Time
	// monotonic is CLOCK_MONOTONIC at start, in ns.
	monotonic int64
}

// NewClock returns a clock.
func NewClock() Clock {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return Clock{Now: time.Now, start: time.Now(), monotonic: ts.Nano()}
}

// Monotonic is CLOCK_MONOTONIC in ns.
func (c *Clock) Monotonic() int64 { return c.monotonic + int64(time.Since(c.start)) }

// Realtime is the time since 1970 in ns.
func (c *Clock) Realtime() int64 { return c.Now().UnixNano() }

// CPU is the processor time of this process in ns.
func (c *Clock) CPU() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return ts.Nano()
}
