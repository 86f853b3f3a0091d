package descriptor

import (
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// brevity is whether calls on a file are brief. It is looked up with the first
// of them.
type brevity uint8

const (
	unknownBrevity brevity = iota
	mayWait
	isBrief
)

// BriefSize bounds what is read or written without the Go scheduler's knowledge:
// copying it takes some 5 µs. From there on telling it costs nothing that could be
// measured.
const BriefSize = 64 << 10

// Brief tells that reading and writing at most BriefSize bytes in one vector are
// calls of package kernel that are made briefly, unless they wait for the disk.
// What that costs is that who stops all of the process's goroutines, as the garbage
// collector does, waits for the end of such a call, as for a guest that computes.
func (d *Descriptor) Brief() bool { return d.brief == isBrief || d.learn() }

// learn looks brevity up, unless it is known, and tells it.
func (d *Descriptor) learn() bool {
	if d.brief == unknownBrevity {
		d.brief = mayWait
		if d.Type == RegularFile && !d.inherited && kernel.OnLocal(d.fd) {
			d.brief = isBrief
		}
	}
	return d.brief == isBrief
}

// Raw is the descriptor of the kernel, for package kernel.
func (d *Descriptor) Raw() int { return d.fd }

// Syncs tells that a write waits for the disk.
func (d *Descriptor) Syncs() bool { return (d.flags|d.softSync)&unix.O_SYNC != 0 }

// Readv reads. A guest that waits, waits in the kernel: nothing but the end of
// the process interrupts it.
func (d *Descriptor) Readv(v []unix.Iovec) (int, unix.Errno) {
	switch {
	case d.fd < 0:
		return 0, 0
	case d.IsSocket():
		// Of no bytes at all read(2) does not wait, other than recv(2).
		if total(v) == 0 {
			return 0, 0
		}
		n, _, e := d.Recv(v, nil, 0)
		return n, e
	case !d.inherited:
		return kernel.Readv(d.fd, v)
	case d.flags&unix.O_NONBLOCK != 0 && d.waits():
		return d.readNow(v)
	}
	for {
		n, e := kernel.Readv(d.fd, v)
		// Somebody else made the shared description non-blocking.
		if e != unix.EAGAIN {
			return n, e
		}
		kernel.Wait(d.fd, unix.POLLIN)
	}
}

// waits tells whether reading or writing may wait for somebody else.
func (d *Descriptor) waits() bool { return d.Type != RegularFile && d.Type != Directory }

// readNow reads what is there, without setting O_NONBLOCK on a description that
// other processes share. Pipes (Linux 6.5) and sockets do that in one call.
func (d *Descriptor) readNow(v []unix.Iovec) (int, unix.Errno) {
	n, e := kernel.ReadvFlags(d.fd, v, unix.RWF_NOWAIT)
	if e != unix.EOPNOTSUPP && e != unix.EINVAL {
		return n, e
	}
	if !kernel.Ready(d.fd, unix.POLLIN) {
		return 0, unix.EAGAIN
	}
	return kernel.Readv(d.fd, v)
}

// Writev writes.
func (d *Descriptor) Writev(v []unix.Iovec) (int, unix.Errno) {
	switch {
	case d.fd < 0:
		return total(v), 0
	case d.IsSocket():
		return d.Send(v, nil)
	case d.softSync != 0:
		return kernel.WritevFlags(d.fd, v, d.syncFlags())
	case !d.inherited:
		return kernel.Writev(d.fd, v)
	case d.flags&unix.O_NONBLOCK != 0 && d.waits():
		return d.writeNow(v)
	}
	for {
		n, e := kernel.Writev(d.fd, v)
		if e != unix.EAGAIN {
			return n, e
		}
		kernel.Wait(d.fd, unix.POLLOUT)
	}
}

// writeNow is readNow for writing. The fallback writes no more than a pipe that
// poll(2) calls writable takes without waiting.
func (d *Descriptor) writeNow(v []unix.Iovec) (int, unix.Errno) {
	n, e := kernel.WritevFlags(d.fd, v, unix.RWF_NOWAIT)
	if e != unix.EOPNOTSUPP && e != unix.EINVAL {
		return n, e
	}
	if !kernel.Ready(d.fd, unix.POLLOUT) {
		return 0, unix.EAGAIN
	}
	return kernel.Writev(d.fd, cut(v, pipeBuf))
}

// pipeBuf is PIPE_BUF.
const pipeBuf = 4096

// cut shortens vectors to at most size bytes, in place.
func cut(v []unix.Iovec, size uint64) []unix.Iovec {
	for i := range v {
		if v[i].Len >= size {
			v[i].Len = size
			return v[:i+1]
		}
		size -= v[i].Len
	}
	return v
}

// maxWrite is how much one call of the kernel writes (MAX_RW_COUNT).
const maxWrite = 0x7fff_f000

func total(v []unix.Iovec) int {
	var n uint64
	for i := range v {
		n += v[i].Len
	}
	return int(min(n, maxWrite))
}

func (d *Descriptor) syncFlags() int {
	if d.softSync == unix.O_DSYNC {
		return unix.RWF_DSYNC
	}
	return unix.RWF_SYNC
}

// Preadv reads at an offset.
func (d *Descriptor) Preadv(v []unix.Iovec, offset int64) (int, unix.Errno) {
	if d.fd < 0 {
		return 0, unix.ESPIPE
	}
	return kernel.Preadv(d.fd, v, offset)
}

// Pwritev writes at an offset. On a file opened for appending Linux appends
// instead.
func (d *Descriptor) Pwritev(v []unix.Iovec, offset int64) (int, unix.Errno) {
	switch {
	case d.fd < 0:
		return 0, unix.ESPIPE
	case d.softSync != 0:
		return kernel.PwritevFlags(d.fd, v, offset, d.syncFlags())
	}
	return kernel.Pwritev(d.fd, v, offset)
}

// Lseek is lseek(2).
func (d *Descriptor) Lseek(offset int64, whence int) (int64, unix.Errno) {
	if d.fd < 0 {
		return 0, unix.ESPIPE
	}
	return kernel.Lseek(d.fd, offset, whence)
}

// Sync is fsync(2), or fdatasync(2) for data alone.
func (d *Descriptor) Sync(data bool) unix.Errno {
	if d.fd < 0 {
		return unix.EINVAL
	}
	if data {
		return kernel.Fdatasync(d.fd)
	}
	return kernel.Fsync(d.fd)
}

// Advise is posix_fadvise(2).
func (d *Descriptor) Advise(offset, length int64, advice int) unix.Errno {
	if d.fd < 0 {
		return unix.ESPIPE
	}
	return kernel.Fadvise(d.fd, offset, length, advice)
}

// Allocate makes room in a file, which grows if need be.
func (d *Descriptor) Allocate(offset, length int64) unix.Errno {
	if d.fd < 0 {
		return unix.ESPIPE
	}
	return kernel.Fallocate(d.fd, offset, length)
}

// Truncate sets a file's size.
func (d *Descriptor) Truncate(size int64) unix.Errno {
	if d.fd < 0 {
		return unix.EINVAL
	}
	return kernel.Ftruncate(d.fd, size)
}

// SetTimes sets a file's times, in which UTIME_NOW and UTIME_OMIT may stand.
func (d *Descriptor) SetTimes(times *[2]unix.Timespec) unix.Errno {
	switch {
	case d.ReadOnly():
		return unix.EROFS
	case d.fd < 0:
		return unix.EINVAL
	}
	return kernel.Futimens(d.fd, times)
}
