// Package timeline records when a process did what, so that a slow start of a
// container can be laid out over the processes that take part in it.
package timeline

import (
	"encoding/json"
	"os"

	"golang.org/x/sys/unix"
)

// Variable is the environment variable by which a process hands its marks to the
// next one, and asks it for its own.
const Variable = "CONTAINERD_SHIM_WASM_TIMELINE"

// Mark is a moment.
type Mark struct {
	Name string `json:"name"`
	// At is the time in nanoseconds of CLOCK_MONOTONIC, which all processes of a
	// machine share.
	At int64 `json:"at"`
}

// Marks are moments in their order. Nothing is recorded into a nil *Marks.
type Marks []Mark

// most bounds the marks of what is asked for again and again.
const most = 64

// Add records that it is now that name is done, or begins.
func (m *Marks) Add(name string) {
	if m != nil && len(*m) < most {
		*m = append(*m, Mark{name, Now()})
	}
}

// Append adds the marks of another process.
func (m *Marks) Append(more Marks) {
	if m != nil {
		*m = append(*m, more...)
	}
}

// Now is the time of a mark.
func Now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// Inherited returns the marks of the process before this one, and removes them
// from the environment. It returns nil where nobody asks.
func Inherited() *Marks {
	text, ok := os.LookupEnv(Variable)
	if !ok {
		return nil
	}
	_ = os.Unsetenv(Variable)
	m := new(Marks)
	if json.Unmarshal([]byte(text), m) != nil {
		return new(Marks) // somebody's own; ours begin here
	}
	return m
}

// Environment is what hands the marks on; nil for a nil *Marks.
func (m *Marks) Environment() []string {
	if m == nil {
		return nil
	}
	return []string{Variable + "=" + m.String()}
}

// String is the marks as JSON.
func (m *Marks) String() string {
	b, err := json.Marshal(m)
	if err != nil {
		return "[]" // strings and numbers
	}
	return string(b)
}
