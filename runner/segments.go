package runner

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// What follows is read for the sake of its counts. The engine allocates as many
// elements as a vector claims before it reads the first, so that five bytes
// would make it ask for hundreds of gigabytes.

// vector reads the count of a vector whose elements take at least size bytes
// each.
func (r *reader) vector(size int) uint32 {
	n := r.u32()
	if uint64(n)*uint64(size) > uint64(len(r.b)) {
		r.fail(fmt.Errorf("it claims %d elements and holds %d bytes", n, len(r.b)))
		return 0
	}
	return n
}

// readElements reads the element section.
func readElements(r *reader) error {
	for n := r.vector(3); n > 0 && r.err == nil; n-- {
		// Bit 0: passive or declarative; bit 1: with a table or a type, or
		// declarative; bit 2: expressions instead of function indexes.
		kind := r.u32()
		if kind > 7 {
			return fmt.Errorf("an element segment has the unknown kind %#x", kind)
		}
		if kind&1 == 0 {
			if kind&2 != 0 {
				r.u32()
			}
			if err := readExpression(r); err != nil {
				return err
			}
		}
		if kind&3 != 0 {
			// A heap type would follow.
			if t := r.byte(); kind&4 != 0 && (t == 0x63 || t == 0x64) {
				return unsupported{featureFunctionReferences}
			}
		}
		for n := r.vector(1); n > 0 && r.err == nil; n-- {
			if kind&4 == 0 {
				r.u32()
			} else if err := readExpression(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// readExpression reads a constant expression (core specification, 3.4.13).
func readExpression(r *reader) error {
	for r.err == nil {
		switch op := r.byte(); op {
		case 0x0b: // end
			return nil
		case 0x41, 0x42: // i32.const, i64.const
			r.signed()
		case 0x43: // f32.const
			r.bytes(4)
		case 0x44: // f64.const
			r.bytes(8)
		case 0x23, 0xd2, 0xd0: // global.get, ref.func, ref.null
			r.u32()
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e: // add, sub, mul of both types
		case 0xfd:
			if op := r.byte(); op != 12 { // v128.const
				return fmt.Errorf("a constant expression contains the unknown instruction 0xfd %#x", op)
			}
			r.bytes(16)
		case 0xfb:
			return unsupported{featureGC}
		default:
			if r.err == nil {
				return fmt.Errorf("a constant expression contains the unknown instruction %#x", op)
			}
		}
	}
	return nil
}

// signed skips a signed LEB128 of at most ten bytes.
func (r *reader) signed() {
	for range 10 {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail(errors.New("a number is too long"))
}

// wellFormedNames tells whether a name section is what the core specification
// says (appendix, "Name Section"). A damaged one does not make a module invalid;
// the engine refuses it, and would allocate what its counts say.
func wellFormedNames(r *reader) bool {
	for !r.empty() {
		id := r.byte()
		s := &reader{b: r.bytes(r.u32())}
		switch id {
		case 0:
			s.rawName()
		case 1:
			s.nameMap()
		case 2:
			for n := s.vector(2); n > 0 && s.err == nil; n-- {
				s.u32()
				s.nameMap()
			}
		default:
			continue
		}
		if s.err != nil || len(s.b) > 0 {
			return false
		}
	}
	return r.err == nil
}

func (r *reader) nameMap() {
	for n := r.vector(2); n > 0 && r.err == nil; n-- {
		r.u32()
		r.rawName()
	}
}

// rawName reads a name that the engine will take only if it is UTF-8.
func (r *reader) rawName() {
	if !utf8.Valid(r.bytes(r.u32())) {
		r.fail(errors.New("a name is not UTF-8"))
	}
}
