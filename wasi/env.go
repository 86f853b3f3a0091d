package wasi

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"unicode/utf16"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
)

// Env is the import module in which compilers put what their own runtime
// needs beside WASI.
const Env = "env"

// env lists the functions of that module: what AssemblyScript imports unless it
// is told otherwise, and the one notice that Emscripten's standalone mode sends.
var env = map[string]struct {
	signature string
	call      func(h *Host, m api.Module, stack []uint64)
}{
	"abort":                           {"iiii:", (*Host).abort},
	"trace":                           {"iiFFFFF:", (*Host).trace},
	"seed":                            {":F", (*Host).seed},
	"emscripten_notify_memory_growth": {"i:", func(*Host, api.Module, []uint64) {}},
}

// abortExitCode is what every AssemblyScript host exits with on abort.
const abortExitCode = 255

// function returns what an import does.
func (h *Host) function(module, name string) (api.GoModuleFunction, bool) {
	if module == Preview1 {
		return h.preview1.Function(name)
	}
	f, ok := env[name]
	return api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) { f.call(h, m, stack) }), ok
}

// abort prints AssemblyScript's message, file, line and column, and exits.
func (h *Host) abort(m api.Module, stack []uint64) {
	h.printf("abort: %s at %s:%d:%d\n", text(m, stack[0]), text(m, stack[1]), uint32(stack[2]), uint32(stack[3]))
	_ = m.CloseWithExitCode(context.Background(), abortExitCode)
	// Nothing of the guest may run after abort.
	panic(sys.NewExitError(abortExitCode))
}

// trace prints a message and the first n of five numbers.
func (h *Host) trace(m api.Module, stack []uint64) {
	n := min(uint32(stack[1]), 5)
	line := "trace: " + text(m, stack[0])
	for _, bits := range stack[2 : 2+n] {
		line += fmt.Sprintf(" %v", math.Float64frombits(bits))
	}
	h.printf("%s\n", line)
}

func (h *Host) seed(_ api.Module, stack []uint64) {
	stack[0] = math.Float64bits(rand.Float64())
}

func (h *Host) printf(format string, args ...any) {
	if h.config.Stderr >= 0 {
		// In one write, so that lines of several writers stay whole.
		_, _ = unix.Write(h.config.Stderr, fmt.Appendf(nil, format, args...))
	}
}

// maxText bounds what one message may print, in bytes of UTF-16.
const maxText = 8 << 10

// text reads an AssemblyScript string: UTF-16LE at p, its length in bytes in
// the four bytes before. Only the low half of a slot of an i32 is defined.
func text(m api.Module, slot uint64) string {
	p, mem := uint32(slot), m.Memory()
	if p < 4 {
		return ""
	}
	size, ok := mem.ReadUint32Le(p - 4)
	if !ok {
		return ""
	}
	b, ok := mem.Read(p, min(size, maxText)&^1)
	if !ok {
		return ""
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}
