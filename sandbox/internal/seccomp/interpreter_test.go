package seccomp

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// call is what the kernel shows a filter, struct seccomp_data.
type call struct {
	number, audit uint32
	args          [6]uint64
	// looked is whether the filter has looked at more than the first two.
	looked bool
}

func (c *call) word(offset uint32) (uint32, error) {
	var data [64]byte
	binary.LittleEndian.PutUint32(data[0:], c.number)
	binary.LittleEndian.PutUint32(data[4:], c.audit)
	for i, a := range c.args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	if offset%4 != 0 || offset > 60 {
		return 0, fmt.Errorf("load from %d", offset)
	}
	c.looked = c.looked || offset >= 8
	return binary.LittleEndian.Uint32(data[offset:]), nil
}

func decode(program []byte) []instruction {
	var p []instruction
	for ; len(program) >= 8; program = program[8:] {
		p = append(p, instruction{
			Code: binary.NativeEndian.Uint16(program), Jt: program[2], Jf: program[3],
			K: binary.NativeEndian.Uint32(program[4:]),
		})
	}
	return p
}

// interpret runs a filter as the kernel does, and says how many instructions
// it took.
func interpret(p []instruction, c *call) (action uint32, steps int, err error) {
	var a uint32
	for pc := 0; pc < len(p); {
		i := p[pc]
		pc++
		steps++
		choose := func(yes bool) {
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if a, err = c.word(i.K); err != nil {
				return 0, steps, err
			}
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			choose(a == i.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			choose(a > i.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			choose(a >= i.K)
		case unix.BPF_RET | unix.BPF_K:
			return i.K, steps, nil
		default:
			return 0, steps, fmt.Errorf("instruction %d has the code %#x", pc-1, i.Code)
		}
	}
	return 0, steps, fmt.Errorf("the program ends without a result")
}
