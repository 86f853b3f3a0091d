package kernel

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxPath is the longest path that Linux takes, its NUL included.
const MaxPath = unix.PathMax

// Path is a path in a buffer that is reused: a copy, so that what was checked
// is what the kernel gets.
type Path struct {
	buf [MaxPath]byte
	n   int
}

// Set takes a path of a guest. It fails on what no system call could mean: an
// empty one, one with a NUL, and one that is too long.
func (p *Path) Set(b []byte) unix.Errno {
	switch {
	case len(b) == 0:
		return unix.ENOENT
	case len(b) >= MaxPath:
		return unix.ENAMETOOLONG
	case bytes.IndexByte(b, 0) >= 0:
		return unix.EINVAL
	}
	p.n = copy(p.buf[:], b)
	p.buf[p.n] = 0
	return 0
}

// Bytes is the path without its NUL, valid until the next Set.
func (p *Path) Bytes() []byte { return p.buf[:p.n] }

// Pointer is the NUL-terminated path.
func (p *Path) Pointer() *byte { return &p.buf[0] }

// Split cuts the path before its last component, which keeps the slashes that
// follow it: they mean something. It reports whether there was anything to cut;
// if there was, the path now ends after the parent. The component is valid
// until the next Set.
func (p *Path) Split() (last []byte, cut bool) {
	end := p.n
	for end > 0 && p.buf[end-1] == '/' {
		end--
	}
	i := bytes.LastIndexByte(p.buf[:end], '/')
	if i < 0 {
		return p.buf[:p.n], false
	}
	last = p.buf[i+1 : p.n]
	p.buf[i] = 0
	p.n = i
	return last, true
}

// pointer is that of a slice's first byte. It becomes a number only in the
// arguments of a system call, which is what keeps the bytes where they are.
func pointer(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
