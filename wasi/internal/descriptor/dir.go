package descriptor

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// DirReader reads directories for one guest, one at a time, through one buffer.
// A position in a directory is the kernel's own (d_off): it stays valid while
// entries come and go, and across other readers.
type DirReader struct {
	buf [16 << 10]byte
	// rest is what of buf has not been consumed.
	rest []byte
	// of and at are the directory and the position of rest.
	of *Descriptor
	at uint64
}

// Entry is one entry of a directory. The name is valid until the next call.
type Entry struct {
	// Next is the position behind the entry.
	Next  uint64
	Inode uint64
	Type  Type
	Name  []byte
}

// Offsets in linux_dirent64.
const (
	direntNext = 8
	direntSize = 16
	direntType = 18
	direntName = 19
)

// Seek goes to a position, which is zero for the first entry or the Next of
// another. Zero always reads afresh.
func (r *DirReader) Seek(d *Descriptor, position uint64) unix.Errno {
	if d.Type != Directory {
		return unix.ENOTDIR
	}
	if r.of == d && r.at == position && position != 0 {
		return 0
	}
	r.of, r.at, r.rest = d, position, nil
	_, e := kernel.Lseek(d.fd, int64(position), unix.SEEK_SET)
	if e != 0 {
		r.of = nil
	}
	return e
}

// Peek returns the entry at the position, if there is one. It comes again until
// it is consumed.
func (r *DirReader) Peek(entry *Entry) (ok bool, e unix.Errno) {
	if len(r.rest) == 0 {
		n, e := kernel.Getdents(r.of.fd, r.buf[:])
		if e != 0 || n <= 0 {
			r.of = nil
			return false, e
		}
		r.rest = r.buf[:n]
	}
	b := r.rest
	size := int(binary.NativeEndian.Uint16(b[direntSize:]))
	name := b[direntName:size]
	for i, c := range name {
		if c == 0 {
			name = name[:i]
			break
		}
	}
	*entry = Entry{
		Next:  binary.NativeEndian.Uint64(b[direntNext:]),
		Inode: binary.NativeEndian.Uint64(b),
		Type:  direntTypeOf(b[direntType]),
		Name:  name,
	}
	return true, 0
}

// Consume goes behind the entry of the last Peek.
func (r *DirReader) Consume() {
	r.at = binary.NativeEndian.Uint64(r.rest[direntNext:])
	r.rest = r.rest[binary.NativeEndian.Uint16(r.rest[direntSize:]):]
}

// Forget drops what is buffered of a descriptor that is about to be closed.
func (r *DirReader) Forget(d *Descriptor) {
	if r.of == d {
		r.of = nil
	}
}

func direntTypeOf(t byte) Type {
	// The kernel's DT_* are the S_IF* shifted.
	return TypeOf(uint32(t) << 12)
}
