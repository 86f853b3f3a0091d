package preview1

import (
	"encoding/binary"
	"unsafe"
)

func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// first is a pointer to a slice's first byte, wherever the slice is empty.
func first(b []byte) *byte { return unsafe.SliceData(b) }

// vectors is a list of strings as args_get and environ_get hand it out: their
// bytes in a row, each with a NUL.
type vectors struct {
	data    []byte
	offsets []uint32
}

func newVectors(list []string) vectors {
	var v vectors
	for _, s := range list {
		v.offsets = append(v.offsets, uint32(len(v.data)))
		v.data = append(append(v.data, s...), 0)
	}
	return v
}

// sizes stores the number of strings and of bytes.
func (v *vectors) sizes(h *Host, count, size uint64) Errno {
	if e := h.put32(count, uint32(len(v.offsets))); e != success {
		return e
	}
	return h.put32(size, uint32(len(v.data)))
}

// get stores the strings and pointers to them.
func (v *vectors) get(h *Host, pointers, data uint64) Errno {
	p, ok := h.bytes(pointers, uint64(4*len(v.offsets)))
	if !ok {
		return errFault
	}
	b, ok := h.bytes(data, uint64(len(v.data)))
	if !ok {
		return errFault
	}
	copy(b, v.data)
	for i, offset := range v.offsets {
		binary.LittleEndian.PutUint32(p[4*i:], uint32(data)+offset)
	}
	return success
}
