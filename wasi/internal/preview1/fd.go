package preview1

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
)

// Flags of a descriptor (witx, fdflags).
const (
	fdAppend = 1 << iota
	fdDsync
	fdNonblock
	fdRsync
	fdSyncFlag

	fdFlags = 1<<iota - 1
)

// openFlags translates them for open(2) and fcntl(2).
func openFlags(f uint16) int {
	var flags int
	if f&fdAppend != 0 {
		flags |= unix.O_APPEND
	}
	if f&fdDsync != 0 {
		flags |= unix.O_DSYNC
	}
	if f&fdNonblock != 0 {
		flags |= unix.O_NONBLOCK
	}
	if f&(fdRsync|fdSyncFlag) != 0 {
		flags |= unix.O_SYNC
	}
	return flags
}

// guestFlags translates back. Linux has no O_RSYNC of its own, and O_SYNC
// includes O_DSYNC.
func guestFlags(flags int) uint16 {
	var f uint16
	if flags&unix.O_APPEND != 0 {
		f |= fdAppend
	}
	if flags&unix.O_NONBLOCK != 0 {
		f |= fdNonblock
	}
	switch flags & unix.O_SYNC {
	case unix.O_DSYNC:
		f |= fdDsync
	case unix.O_SYNC:
		f |= fdSyncFlag
	}
	return f
}

// fd_close(fd)
func fdClose(h *Host, s []uint64) Errno {
	if d := h.fd(s[0]); d != nil {
		h.dir.Forget(d)
	}
	return errno(h.Descriptors.Close(uint32(s[0])))
}

// fd_renumber(from, to)
func fdRenumber(h *Host, s []uint64) Errno {
	if d := h.fd(s[1]); d != nil {
		h.dir.Forget(d)
	}
	return errno(h.Descriptors.Renumber(uint32(s[0]), uint32(s[1])))
}

// fd_fdstat_get(fd, fdstat*)
func fdFdstatGet(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	if d == nil {
		return errBadf
	}
	b, ok := h.bytes(s[1], 24)
	if !ok {
		return errFault
	}
	clear(b)
	b[0] = byte(d.Type)
	binary.LittleEndian.PutUint16(b[2:], guestFlags(d.Flags()))
	binary.LittleEndian.PutUint64(b[8:], d.Base)
	binary.LittleEndian.PutUint64(b[16:], d.Inheriting)
	return success
}

// fd_fdstat_set_flags(fd, flags)
func fdFdstatSetFlags(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	switch {
	case d == nil:
		return errBadf
	case uint32(s[1])&^fdFlags != 0:
		return errInval
	}
	return errno(d.SetFlags(openFlags(uint16(s[1]))))
}

// fd_fdstat_set_rights(fd, base, inheriting): they can only be given up.
func fdFdstatSetRights(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	switch {
	case d == nil:
		return errBadf
	case s[1]&^d.Base != 0 || s[2]&^d.Inheriting != 0:
		return errNotcapable
	}
	d.Base, d.Inheriting = s[1], s[2]
	return success
}

// fd_prestat_get(fd, prestat*)
func fdPrestatGet(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	if d == nil || d.Preopen == "" {
		return errBadf
	}
	b, ok := h.bytes(s[1], 8)
	if !ok {
		return errFault
	}
	clear(b) // Tag 0: a directory.
	binary.LittleEndian.PutUint32(b[4:], uint32(len(d.Preopen)))
	return success
}

// fd_prestat_dir_name(fd, path, path_len)
func fdPrestatDirName(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	if d == nil || d.Preopen == "" {
		return errBadf
	}
	b, ok := h.bytes(s[1], s[2])
	switch {
	case !ok:
		return errFault
	case len(b) < len(d.Preopen):
		return errNametoolong
	}
	copy(b, d.Preopen)
	return success
}

// fd_sync(fd)
func fdSync(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	if d == nil {
		return errBadf
	}
	return errno(d.Sync(false))
}

// fd_datasync(fd)
func fdDatasync(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	if d == nil {
		return errBadf
	}
	return errno(d.Sync(true))
}

// fd_advise(fd, offset, len, advice)
func fdAdvise(h *Host, s []uint64) Errno {
	// normal, sequential, random, willneed, dontneed, noreuse
	advices := [...]int{unix.FADV_NORMAL, unix.FADV_SEQUENTIAL, unix.FADV_RANDOM, unix.FADV_WILLNEED, unix.FADV_DONTNEED, unix.FADV_NOREUSE}
	d, advice := h.fd(s[0]), uint32(s[3])
	switch {
	case d == nil || d.Type == descriptor.Directory:
		return errBadf
	case advice >= uint32(len(advices)) || s[1] > math.MaxInt64 || s[2] > math.MaxInt64:
		return errInval
	}
	return errno(d.Advise(int64(s[1]), int64(s[2]), advices[advice]))
}

// fd_allocate(fd, offset, len)
func fdAllocate(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	switch {
	case d == nil || d.Type == descriptor.Directory:
		return errBadf
	case s[1] > math.MaxInt64 || s[2] > math.MaxInt64:
		return errInval
	case d.Base&rightFdAllocate == 0:
		return errNotcapable
	}
	return errno(d.Allocate(int64(s[1]), int64(s[2])))
}

// fd_filestat_get(fd, filestat*)
func fdFilestatGet(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	if d == nil {
		return errBadf
	}
	if e := d.Stat(&h.stat); e != 0 {
		return errno(e)
	}
	return h.putStat(s[1], d.Type)
}

// putStat stores h.stat as a filestat.
func (h *Host) putStat(address uint64, t descriptor.Type) Errno {
	b, ok := h.bytes(address, 64)
	if !ok {
		return errFault
	}
	st := &h.stat
	// The kernel's numbers and times of a socket mean nothing.
	if t == descriptor.StreamSocket || t == descriptor.DatagramSocket {
		*st = unix.Stat_t{Nlink: 1}
	}
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(st.Dev))
	le.PutUint64(b[8:], st.Ino)
	le.PutUint64(b[16:], uint64(t))
	le.PutUint64(b[24:], uint64(st.Nlink))
	le.PutUint64(b[32:], uint64(max(st.Size, 0)))
	le.PutUint64(b[40:], uint64(st.Atim.Nano()))
	le.PutUint64(b[48:], uint64(st.Mtim.Nano()))
	le.PutUint64(b[56:], uint64(st.Ctim.Nano()))
	return success
}

// fd_filestat_set_size(fd, size)
func fdFilestatSetSize(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	switch {
	case d == nil || d.Type == descriptor.Directory:
		return errBadf
	case s[1] > math.MaxInt64:
		return errInval
	case d.Base&rightFdFilestatSetSize == 0:
		return errNotcapable
	}
	return errno(d.Truncate(int64(s[1])))
}

// fd_filestat_set_times(fd, atim, mtim, flags)
func fdFilestatSetTimes(h *Host, s []uint64) Errno {
	d := h.fd(s[0])
	if d == nil {
		return errBadf
	}
	times, ok := fileTimes(s[1], s[2], uint32(s[3]))
	if !ok {
		return errInval
	}
	return errno(d.SetTimes(&times))
}

// Which times to set (witx, fstflags).
const (
	setAtim = 1 << iota
	setAtimNow
	setMtim
	setMtimNow

	setTimes = 1<<iota - 1
)

// fileTimes is what utimensat(2) takes.
func fileTimes(atim, mtim uint64, flags uint32) (times [2]unix.Timespec, ok bool) {
	if flags&^setTimes != 0 || flags&(setAtim|setAtimNow) == setAtim|setAtimNow || flags&(setMtim|setMtimNow) == setMtim|setMtimNow {
		return times, false
	}
	times[0] = fileTime(atim, flags&setAtim != 0, flags&setAtimNow != 0)
	times[1] = fileTime(mtim, flags&setMtim != 0, flags&setMtimNow != 0)
	return times, true
}

func fileTime(ns uint64, set, now bool) unix.Timespec {
	switch {
	case set:
		return unix.Timespec{Sec: int64(ns / 1e9), Nsec: int64(ns % 1e9)}
	case now:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	}
	return unix.Timespec{Nsec: unix.UTIME_OMIT}
}
