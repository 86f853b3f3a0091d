package runner

import (
	"fmt"
	"unicode/utf8"
)

// Data segments are written into the guest's memory before it is instantiated, and
// the engine gets the binary without them: it would keep a copy of each on Go's
// heap for as long as the guest runs, and write them only after the guest is
// released.

// order follows the sections of a binary, as far as leaving one out may depend on it.
type order struct {
	last  byte
	count bool // there is a data count section
	data  int  // data sections
	wrong bool
}

// see takes the next section that is not custom.
func (o *order) see(id byte) {
	switch {
	case id == 11:
		o.data++
		o.wrong = o.wrong || o.last != 10
	case o.data > 0:
		o.wrong = true
	case id == 12:
		o.count = true
	}
	o.last = id
}

// readData reads the data section. It is kept when all of its segments are active,
// at constant addresses and within the memory as it begins: then nothing can tell
// when they were written.
func (info *binaryInfo) readData(r *reader) error {
	section, plain := r.b, info.memory != nil
	for n := r.vector(2); n > 0 && r.err == nil; n-- {
		s, err := r.segment()
		if err != nil {
			return err
		}
		plain = plain && s.constant && uint64(s.at)+uint64(len(s.b)) <= info.memory.min*pageSize
	}
	if plain && r.err == nil && len(r.b) == 0 {
		info.data = section
	}
	return nil
}

// dataSegment is a data segment. If it is constant, it is written at an address
// that is known without running anything.
type dataSegment struct {
	b        []byte
	at       uint32
	constant bool
}

func (r *reader) segment() (s dataSegment, err error) {
	kind := r.u32()
	if kind > 2 {
		return s, fmt.Errorf("a data segment has the unknown kind %#x", kind)
	}
	other := kind == 2 && r.u32() != 0
	if kind != 1 {
		if s.at, s.constant = r.constant(); !s.constant {
			if err := readExpression(r); err != nil {
				return s, err
			}
		}
	}
	s.b = r.bytes(r.u32())
	s.constant = s.constant && !other
	return s, nil
}

// constant reads an expression that is i32.const alone; of any other it reads
// nothing. Languages with a runtime of their own have tens of thousands of them.
func (r *reader) constant() (uint32, bool) {
	b := r.b
	if len(b) < 3 || b[0] != 0x41 {
		return 0, false
	}
	b = b[1:]
	var v uint32
	for shift := 0; ; shift += 7 {
		if len(b) < 2 {
			return 0, false
		}
		c := b[0]
		b = b[1:]
		v |= uint32(c&0x7f) << shift
		// Of the fifth byte three bits are left over and must repeat the sign.
		if shift == 28 && c != c&0x07 && c&^0x07 != 0x78 {
			return 0, false
		}
		if c < 0x80 {
			if shift < 28 && c&0x40 != 0 {
				v |= ^uint32(0) << (shift + 7)
			}
			break
		}
	}
	if b[0] != 0x0b {
		return 0, false
	}
	r.b = b[1:]
	return v, true
}

// prune returns the binary without what the engine need not see: data segments that
// fill writes, and custom sections but for names. It changes the binary in place,
// and what data segments refer to with it. readBinary has accepted the binary.
//
// Like linkVariants it comes before compiling, so that the key of the compiled code
// covers it.
func prune(b []byte, info *binaryInfo) []byte {
	r := &reader{b: b[len(coreHeader):]}
	kept := len(coreHeader)
	for !r.empty() {
		from := len(b) - len(r.b)
		id := r.byte()
		s := &reader{b: r.bytes(r.u32())}
		drop := id == 11 && info.data != nil
		if id == 0 {
			name := s.bytes(s.u32())
			// What is malformed stays for the engine to refuse.
			drop = string(name) != "name" && utf8.Valid(name) && !info.lines()
		}
		if !drop {
			kept += copy(b[kept:], b[from:len(b)-len(r.b)])
		}
	}
	return b[:kept]
}

// fill writes the data segments, in their order, into the memory as it begins. They
// are read again, because there may be tens of thousands of them.
func (info *binaryInfo) fill(memory []byte) {
	r := &reader{b: info.data}
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		s, _ := r.segment()
		copy(memory[s.at:], s.b)
	}
}
