package preview1

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
)

// fd_read(fd, iovs, iovs_len, nread*)
func fdRead(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	if d == nil || d.Base&rightFdRead == 0 {
		return h.cannot(d, errBadf)
	}
	v, e := h.vector(s[1], s[2])
	if e != success {
		return e
	}
	n, err := d.Readv(v)
	if err != 0 {
		return errno(err)
	}
	return h.put32(s[3], uint32(n))
}

// cannot is the answer to an operation that a descriptor has no right to.
func (h *Host) cannot(d *descriptor.Descriptor, e Errno) Errno {
	if d != nil && d.Type == descriptor.Directory {
		return errIsdir
	}
	return e
}

// fd_write(fd, ciovs, ciovs_len, nwritten*)
func fdWrite(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	if d == nil || d.Base&rightFdWrite == 0 {
		return h.cannot(d, errBadf)
	}
	v, e := h.vector(s[1], s[2])
	if e != success {
		return e
	}
	n, err := d.Writev(v)
	if err != 0 {
		return errno(err)
	}
	return h.put32(s[3], uint32(n))
}

// fd_pread(fd, iovs, iovs_len, offset, nread*)
func fdPread(h *Host, s []uint64) Errno {
	d, offset := h.fd(s[0]), s[3]
	if d == nil || d.Base&rightFdRead == 0 {
		return h.cannot(d, errBadf)
	}
	v, e := h.vector(s[1], s[2])
	if e != success {
		return e
	}
	if offset > math.MaxInt64 {
		return errInval
	}
	n, err := d.Preadv(v, int64(offset))
	if err != 0 {
		return errno(err)
	}
	return h.put32(s[4], uint32(n))
}

// fd_pwrite(fd, ciovs, ciovs_len, offset, nwritten*)
func fdPwrite(h *Host, s []uint64) Errno {
	d, offset := h.fd(s[0]), s[3]
	if d == nil || d.Base&rightFdWrite == 0 {
		return h.cannot(d, errBadf)
	}
	v, e := h.vector(s[1], s[2])
	if e != success {
		return e
	}
	if offset > math.MaxInt64 {
		return errInval
	}
	n, err := d.Pwritev(v, int64(offset))
	if err != 0 {
		return errno(err)
	}
	return h.put32(s[4], uint32(n))
}

// fd_seek(fd, offset, whence, position*)
func fdSeek(h *Host, s []uint64) Errno {
	whence := [...]int{unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_END}
	i := uint32(s[2])
	if i >= uint32(len(whence)) {
		return errInval
	}
	return h.seek(s[0], int64(s[1]), whence[i], rightFdSeek, s[3])
}

// fd_tell(fd, position*)
func fdTell(h *Host, s []uint64) Errno {
	return h.seek(s[0], 0, unix.SEEK_CUR, rightFdTell, s[1])
}

func (h *Host) seek(slot uint64, offset int64, whence int, right uint64, result uint64) Errno {
	d := h.fd(slot)
	switch {
	case d == nil || d.Type == descriptor.Directory:
		return errBadf
	case rightsOf(d)&right == 0:
		return errSpipe
	case d.Base&right == 0 && (right != rightFdTell && (offset != 0 || whence != unix.SEEK_CUR) || d.Base&(rightFdSeek|rightFdTell) == 0):
		return errNotcapable
	}
	n, e := d.Lseek(offset, whence)
	if e != 0 {
		return errno(e)
	}
	return h.put64(result, uint64(n))
}

// dirent is the size of an entry without its name.
const dirent = 24

// fd_readdir(fd, buf, buf_len, cookie, used*). Cookies are positions of the
// kernel's. What does not fit is cut: that is how a guest knows that there is
// more, and it comes again with the last cookie that was whole.
func fdReaddir(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	if d == nil {
		return errBadf
	}
	b, ok := h.bytes(s[1], s[2])
	switch {
	case !ok || !h.fits(s[4], 4):
		return errFault
	case s[3] > math.MaxInt64:
		return errInval
	}
	if e := h.dir.Seek(d, s[3]); e != 0 {
		return errno(e)
	}
	var used int
	for used < len(b) {
		more, e := h.dir.Peek(&h.entry)
		// The directory was removed while it was open.
		if e != 0 && e != unix.ENOENT && used == 0 {
			return errno(e)
		}
		if !more {
			break
		}
		header := h.scratch[:dirent]
		binary.LittleEndian.PutUint64(header, h.entry.Next)
		binary.LittleEndian.PutUint64(header[8:], h.entry.Inode)
		binary.LittleEndian.PutUint32(header[16:], uint32(len(h.entry.Name)))
		binary.LittleEndian.PutUint32(header[20:], uint32(h.entry.Type))
		fit := copy(b[used:], header)
		fit += copy(b[used+fit:], h.entry.Name)
		used += fit
		if fit < dirent+len(h.entry.Name) {
			break
		}
		h.dir.Consume()
	}
	return h.put32(s[4], uint32(used))
}
