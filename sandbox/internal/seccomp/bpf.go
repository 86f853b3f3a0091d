package seccomp

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// instruction is one of classic BPF. Only those are used that the kernel can
// evaluate beforehand where they do not look at arguments: since Linux 5.11 it
// then keeps a bitmap of the calls that are always allowed.
type instruction = unix.SockFilter

const (
	jumpEqual        uint16 = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGreater      uint16 = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jumpGreaterEqual uint16 = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
)

// Offsets in struct seccomp_data of <linux/seccomp.h>.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// argument returns the offsets of the low and the high word of an argument; all
// processors that are supported are little-endian.
func argument(index int) (low, high uint32) {
	low = offsetArgs + 8*uint32(index)
	return low, low + 4
}

func load(offset uint32) instruction {
	return instruction{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func and(mask uint32) instruction {
	return instruction{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
}

func give(action uint32) instruction {
	return instruction{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// jump skips as many instructions; its distances have eight bits.
func jump(op uint16, k uint32, yes, no int) instruction {
	if yes > 255 || no > 255 {
		panic(fmt.Sprintf("a jump over %d or %d instructions is too long", yes, no))
	}
	return instruction{Code: op, Jt: uint8(yes), Jf: uint8(no), K: k}
}

func skip(n int) instruction {
	return instruction{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)}
}

// Filter is a compiled profile on its way to the process that loads it.
type Filter struct {
	// Program is an array of struct sock_filter in the machine's byte order.
	Program []byte `json:"program"`
	// Flags are those of seccomp(2).
	Flags uint `json:"flags"`
}

// maxInstructions is BPF_MAXINSNS, the kernel's limit.
const maxInstructions = 4096

func newFilter(program []instruction, flags uint) (*Filter, error) {
	if len(program) > maxInstructions {
		return nil, fmt.Errorf("syscalls has so many rules that the filter needs %d instructions, and the kernel takes %d; shorten it", len(program), maxInstructions)
	}
	f := &Filter{Flags: flags, Program: make([]byte, 0, 8*len(program))}
	for _, i := range program {
		f.Program = binary.NativeEndian.AppendUint16(f.Program, i.Code)
		f.Program = append(f.Program, i.Jt, i.Jf)
		f.Program = binary.NativeEndian.AppendUint32(f.Program, i.K)
	}
	return f, nil
}

// Load loads the filter for the calling thread, which must be locked to its
// goroutine and have no_new_privs or CAP_SYS_ADMIN. The errors are those of
// seccomp(2).
func (f *Filter) Load() error {
	program := unix.SockFprog{
		Len:    uint16(len(f.Program) / 8),
		Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(f.Program))),
	}
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(f.Flags), uintptr(unsafe.Pointer(&program)))
	if e != 0 {
		return e
	}
	return nil
}
