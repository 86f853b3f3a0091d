package runner

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// maxTableElements is how many elements all tables of a guest may have together.
// It is the limit on one table that every browser enforces (WebAssembly JS API,
// "Implementation-defined limits"); an element takes 8 bytes of this process,
// outside of the guest's memory. wazero lets a table without a maximum grow to
// 2^32 elements.
const maxTableElements = 10_000_000

// maxTables is the same specification's limit on tables.
const maxTables = 100_000

// tableInfo is a table of the module's own.
type tableInfo struct {
	// limits is where its limits lie in the binary: their flags, the minimum and
	// perhaps a maximum.
	limits   span
	min, max uint64
}

// span is a part of a binary.
type span struct{ from, to int }

// tableSection is what readTables found.
type tableSection struct {
	// size is where the section's size lies in the binary, and content its
	// content.
	size, content span
	tables        []tableInfo
}

// readTables reads the table section, whose content begins at from in the binary.
func (info *binaryInfo) readTables(r *reader, sizeAt, from int) error {
	total := len(r.b)
	at := func() int { return from + total - len(r.b) }
	s := tableSection{size: span{sizeAt, from}, content: span{from, from + total}}
	n := r.u32()
	if n > maxTables {
		return fmt.Errorf("it has %d tables, more than %d", n, maxTables)
	}
	for ; n > 0 && r.err == nil; n-- {
		if t := r.byte(); t == 0x40 {
			// An initial value follows the limits; wazero reads it.
			return unsupported{featureFunctionReferences}
		} else if err := checkValueType(t); err != nil {
			return err
		}
		begin := at()
		flags := r.byte()
		if flags > limitsHasMax {
			return fmt.Errorf("the limits of a table have the unknown flags %#x", flags)
		}
		t := tableInfo{min: uint64(r.u32()), max: 1<<32 - 1}
		if flags&limitsHasMax != 0 {
			t.max = uint64(r.u32())
		}
		t.limits = span{begin, at()}
		s.tables = append(s.tables, t)
	}
	info.tables = s
	return nil
}

// checkTables refuses a module whose tables are too large from the start.
func checkTables(info *binaryInfo, module string) error {
	var sum uint64
	for _, t := range info.tables.tables {
		sum += t.min
	}
	if sum > maxTableElements {
		return control.Errorf(control.InvalidArgument,
			"%s declares tables of at least %d elements, but a guest may have %d; link it with fewer functions in tables", module, sum, maxTableElements)
	}
	return nil
}

// boundTables returns the binary with a maximum for every table, such that all of
// them together stay within maxTableElements: table.grow then fails as the
// WebAssembly specification says (4.6.11, "table.grow"). A binary whose own
// maximums are low enough, as compilers of C and Rust write them, stays as it is;
// one of Go's is changed in place; of others the result is a copy. checkTables has
// accepted the binary.
//
// Like linkVariants it comes before compiling, so that the key of the compiled
// code covers it.
func boundTables(b []byte, info *binaryInfo) []byte {
	s := info.tables
	rest := uint64(maxTableElements)
	for _, t := range s.tables {
		rest -= t.min
	}
	bounded := false
	content := bytes.NewBuffer(make([]byte, 0, s.content.to-s.content.from+5*len(s.tables)))
	from := s.content.from
	for _, t := range s.tables {
		limit := t.min + rest/uint64(len(s.tables))
		if t.max <= limit {
			continue
		}
		bounded = true
		content.Write(b[from:t.limits.from])
		from = t.limits.to
		content.WriteByte(limitsHasMax)
		content.Write(binary.AppendUvarint(nil, t.min))
		content.Write(binary.AppendUvarint(nil, limit))
	}
	if !bounded {
		return b
	}
	content.Write(b[from:s.content.to])
	size := binary.AppendUvarint(nil, uint64(content.Len()))
	// Go's linker writes every size in five bytes, which leaves room for a maximum:
	// nothing moves then.
	room := s.content.to - s.size.from - content.Len()
	for len(size) < min(room, binary.MaxVarintLen32) {
		size[len(size)-1] |= 0x80
		size = append(size, 0)
	}
	if len(size) == room {
		copy(b[s.size.from:], size)
		copy(b[s.size.from+room:], content.Bytes())
		return b
	}
	return slices.Concat(b[:s.size.from], size, content.Bytes(), b[s.content.to:])
}
