package seccomp

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxArgs is how many arguments a system call has.
const maxArgs = 6

// condition compares one argument of a call, as an unsigned number.
type condition struct {
	index int
	op    specs.LinuxSeccompOperator
	// value is compared with; for a masked comparison it is the mask of the
	// argument and of two, which is compared with.
	value, two uint64
	// words says that the ABI's arguments have 32 bits, of which alone the
	// comparison is.
	words bool
}

func parseCondition(arg *specs.LinuxSeccompArg, at string) (condition, error) {
	if arg.Index >= maxArgs {
		return condition{}, fmt.Errorf("%sindex: %d is past the last argument of a system call; use 0 to %d", at, arg.Index, maxArgs-1)
	}
	switch arg.Op {
	case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual:
		return condition{index: int(arg.Index), op: arg.Op, value: arg.Value, two: arg.ValueTwo}, nil
	}
	return condition{}, fmt.Errorf("%sop: %q is not known; use one of %v", at, arg.Op, Operators())
}

// met says what code computes.
func (c condition) met(arg uint64) bool {
	value, two := c.value, c.two
	if c.words {
		arg, value, two = uint64(uint32(arg)), uint64(uint32(value)), uint64(uint32(two))
	}
	switch c.op {
	case specs.OpEqualTo:
		return arg == value
	case specs.OpNotEqual:
		return arg != value
	case specs.OpGreaterThan:
		return arg > value
	case specs.OpGreaterEqual:
		return arg >= value
	case specs.OpLessThan:
		return arg < value
	case specs.OpLessEqual:
		return arg <= value
	default:
		return arg&value == two&value
	}
}

// code continues after itself when the condition is met and otherwise past the
// next rest instructions. Words are compared one by one, the high one first.
func (c condition) code(rest int) []instruction {
	// How far past the end of this code a jump goes that is decided.
	const met = 0
	fails := rest
	low, high := argument(c.index)
	v, vHigh := uint32(c.value), uint32(c.value>>32)
	var head, tail []instruction // the code of the high and of the low word
	switch c.op {
	case specs.OpEqualTo:
		tail = compare(low, jumpEqual, v, met, fails)
		head = before(tail, high, outcome{jumpEqual, vHigh, goOn, fails})
	case specs.OpNotEqual:
		tail = compare(low, jumpEqual, v, fails, met)
		head = before(tail, high, outcome{jumpEqual, vHigh, goOn, met})
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		op := jumpGreater
		if c.op == specs.OpGreaterEqual {
			op = jumpGreaterEqual
		}
		tail = compare(low, op, v, met, fails)
		head = before(tail, high, outcome{jumpGreater, vHigh, met, goOn}, outcome{jumpEqual, vHigh, goOn, fails})
	case specs.OpLessThan, specs.OpLessEqual:
		op := jumpGreaterEqual
		if c.op == specs.OpLessEqual {
			op = jumpGreater
		}
		tail = compare(low, op, v, fails, met)
		head = before(tail, high, outcome{jumpGreater, vHigh, fails, goOn}, outcome{jumpEqual, vHigh, goOn, met})
	case specs.OpMaskedEqual:
		mask, maskHigh := uint32(c.value), uint32(c.value>>32)
		tail = append([]instruction{load(low), and(mask)}, jump(jumpEqual, uint32(c.two)&mask, met, fails))
		head = append([]instruction{load(high), and(maskHigh)},
			jump(jumpEqual, uint32(c.two>>32)&maskHigh, 0, len(tail)+fails))
	}
	if c.words {
		return tail
	}
	return append(head, tail...)
}

// goOn is the target of a jump that leaves the decision to the next
// instruction.
const goOn = -1

// outcome is a jump of which either target is goOn or a distance past the end
// of the whole comparison.
type outcome struct {
	op      uint16
	k       uint32
	yes, no int
}

// compare loads a word and jumps past the end of the code.
func compare(offset uint32, op uint16, k uint32, yes, no int) []instruction {
	return []instruction{load(offset), jump(op, k, yes, no)}
}

// before loads a word and makes the jumps in front of the code tail.
func before(tail []instruction, offset uint32, jumps ...outcome) []instruction {
	code := []instruction{load(offset)}
	for i, o := range jumps {
		past := len(jumps) - 1 - i + len(tail)
		distance := func(target int) int {
			if target == goOn {
				return 0
			}
			return past + target
		}
		code = append(code, jump(o.op, o.k, distance(o.yes), distance(o.no)))
	}
	return code
}
