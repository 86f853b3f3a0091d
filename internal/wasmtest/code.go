package wasmtest

import "encoding/binary"

// Instructions without operands.
var (
	Unreachable = []byte{0x00}
	Return      = []byte{0x0f}
	Drop        = []byte{0x1a}
	I32Load     = []byte{0x28, 2, 0}
	I32Store    = []byte{0x36, 2, 0}
	I32Add      = []byte{0x6a}
	I32DivS     = []byte{0x6d}
	MemoryGrow  = []byte{0x40, 0}
	MemorySize  = []byte{0x3f, 0}
)

// I32Const is i32.const n.
func I32Const(n int32) []byte {
	out := []byte{0x41}
	for v := int64(n); ; {
		b := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && b&0x40 == 0) || (v == -1 && b&0x40 != 0) {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// Call is call fn.
func Call(fn uint32) []byte { return append([]byte{0x10}, U32(fn)...) }

// Loop is a loop that never ends around the code.
func Loop(code ...[]byte) []byte {
	out := []byte{0x03, 0x40}
	for _, c := range code {
		out = append(out, c...)
	}
	return append(out, 0x0c, 0, 0x0b)
}

const preview1 = "wasi_snapshot_preview1"

// Exit is a command that exits with the code.
func Exit(code int32) []byte {
	m := &Module{}
	exit := m.ImportFunc(preview1, "proc_exit", m.Type([]byte{I32}, nil))
	start := m.Func(m.Type(nil, nil), I32Const(code), Call(exit))
	m.Memory(1)
	m.Export("memory", KindMemory, 0)
	m.Export("_start", KindFunc, start)
	return m.Bytes()
}

// Print is a command that writes the text to standard output and returns.
func Print(text string) []byte {
	m := &Module{}
	write := m.ImportFunc(preview1, "fd_write", m.Type([]byte{I32, I32, I32, I32}, []byte{I32}))
	start := m.Func(m.Type(nil, nil), Write(write, 1), Drop)
	m.Memory(1)
	m.Data(iovec, Iovec(iovec+16, len(text)))
	m.Data(iovec+16, []byte(text))
	m.Export("memory", KindMemory, 0)
	m.Export("_start", KindFunc, start)
	return m.Bytes()
}

// iovec is the address of the only vector that Write writes; the count of
// written bytes goes to address 0.
const iovec = 16

// Write calls fd_write (of index fn) for the vector at address 16 and leaves
// the errno on the stack.
func Write(fn uint32, fd int32) []byte {
	var out []byte
	for _, c := range [][]byte{I32Const(fd), I32Const(iovec), I32Const(1), I32Const(0), Call(fn)} {
		out = append(out, c...)
	}
	return out
}

// Iovec is an iovec or ciovec in memory.
func Iovec(address, size int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(address))
	return binary.LittleEndian.AppendUint32(b, uint32(size))
}
