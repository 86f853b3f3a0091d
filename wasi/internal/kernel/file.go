package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names passed to these functions are byte slices that a NUL follows in memory,
// as those of Path are.

// empty is the path of a descriptor itself, for calls with AT_EMPTY_PATH.
var empty = [1]byte{}

// Empty is an empty name.
func Empty() []byte { return empty[:0:1] }

// Openat2 opens a path (openat2(2), Linux 5.6).
func Openat2(dir int, name []byte, how *unix.OpenHow) (int, unix.Errno) {
	for {
		fd, _, e := unix.Syscall6(unix.SYS_OPENAT2, uintptr(dir), uintptr(pointer(name)), uintptr(unsafe.Pointer(how)), unsafe.Sizeof(*how), 0, 0)
		if e != unix.EINTR {
			return int(fd), e
		}
	}
}

// Openat opens one name in a directory.
func Openat(dir int, name []byte, flags int, mode uint32) (int, unix.Errno) {
	for {
		fd, _, e := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(pointer(name)), uintptr(flags), uintptr(mode), 0, 0)
		if e != unix.EINTR {
			return int(fd), e
		}
	}
}

// Close closes a descriptor, whatever it says.
func Close(fd int) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return e
}

// Fstat is fstat(2).
func Fstat(fd int, st *unix.Stat_t) unix.Errno {
	for {
		_, _, e := unix.Syscall(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(st)), 0)
		if e != unix.EINTR {
			return e
		}
	}
}

// Fstatat is newfstatat(2).
func Fstatat(dir int, name []byte, st *unix.Stat_t, flags int) unix.Errno {
	for {
		_, _, e := unix.Syscall6(unix.SYS_NEWFSTATAT, uintptr(dir), uintptr(pointer(name)), uintptr(unsafe.Pointer(st)), uintptr(flags), 0, 0)
		if e != unix.EINTR {
			return e
		}
	}
}

// OnProc tells whether a descriptor is of a proc filesystem.
func OnProc(fd int) bool { return filesystem(fd) == unix.PROC_SUPER_MAGIC }

// OnLocal tells whether a descriptor is of a filesystem that this kernel serves
// from memory or from a disk, so that its calls wait for no other program. What
// lies on others, as overlays do, does not say on which.
func OnLocal(fd int) bool {
	switch filesystem(fd) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC:
		return true
	}
	return false
}

// filesystem is the magic number of the filesystem of a descriptor; 0 when it
// does not say.
func filesystem(fd int) int64 {
	var st unix.Statfs_t
	for {
		_, _, e := unix.Syscall(unix.SYS_FSTATFS, uintptr(fd), uintptr(unsafe.Pointer(&st)), 0)
		switch e {
		case 0:
			return st.Type
		case unix.EINTR:
		default:
			return 0
		}
	}
}

// Readlinkat reads a symbolic link into b and cuts what does not fit.
func Readlinkat(dir int, name, b []byte) (int, unix.Errno) {
	for {
		n, _, e := unix.Syscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(pointer(name)), uintptr(pointer(b)), uintptr(len(b)), 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// Mkdirat is mkdirat(2).
func Mkdirat(dir int, name []byte, mode uint32) unix.Errno {
	return named(unix.SYS_MKDIRAT, dir, name, uintptr(mode))
}

// Unlinkat is unlinkat(2).
func Unlinkat(dir int, name []byte, flags int) unix.Errno {
	return named(unix.SYS_UNLINKAT, dir, name, uintptr(flags))
}

// named is a call about a name in a directory. A filesystem such as FUSE or NFS
// that says EINTR has not done it.
func named(trap uintptr, dir int, name []byte, arg uintptr) unix.Errno {
	for {
		_, _, e := unix.Syscall(trap, uintptr(dir), uintptr(pointer(name)), arg)
		if e != unix.EINTR {
			return e
		}
	}
}

// Symlinkat is symlinkat(2).
func Symlinkat(target []byte, dir int, name []byte) unix.Errno {
	for {
		_, _, e := unix.Syscall(unix.SYS_SYMLINKAT, uintptr(pointer(target)), uintptr(dir), uintptr(pointer(name)))
		if e != unix.EINTR {
			return e
		}
	}
}

// Linkat is linkat(2) without flags: it does not follow a symbolic link.
func Linkat(oldDir int, oldName []byte, newDir int, newName []byte) unix.Errno {
	return twoNames(unix.SYS_LINKAT, oldDir, oldName, newDir, newName)
}

// Renameat is renameat2(2) without flags.
func Renameat(oldDir int, oldName []byte, newDir int, newName []byte) unix.Errno {
	return twoNames(unix.SYS_RENAMEAT2, oldDir, oldName, newDir, newName)
}

// twoNames is named for two.
func twoNames(trap uintptr, oldDir int, oldName []byte, newDir int, newName []byte) unix.Errno {
	for {
		_, _, e := unix.Syscall6(trap, uintptr(oldDir), uintptr(pointer(oldName)), uintptr(newDir), uintptr(pointer(newName)), 0, 0)
		if e != unix.EINTR {
			return e
		}
	}
}

// Utimensat sets the times of a file by its descriptor, which may be one of
// O_PATH (Linux 5.8).
func Utimensat(fd int, times *[2]unix.Timespec) unix.Errno {
	return utimens(fd, Empty(), times, unix.AT_EMPTY_PATH)
}

// Futimens sets the times of an open file.
func Futimens(fd int, times *[2]unix.Timespec) unix.Errno { return utimens(fd, nil, times, 0) }

func utimens(fd int, name []byte, times *[2]unix.Timespec, flags uintptr) unix.Errno {
	for {
		_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), uintptr(pointer(name)), uintptr(unsafe.Pointer(times)), flags, 0, 0)
		if e != unix.EINTR {
			return e
		}
	}
}

// Getdents reads entries of a directory.
func Getdents(fd int, b []byte) (int, unix.Errno) {
	for {
		n, _, e := unix.Syscall(unix.SYS_GETDENTS64, uintptr(fd), uintptr(pointer(b)), uintptr(len(b)))
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// Lseek is lseek(2).
func Lseek(fd int, offset int64, whence int) (int64, unix.Errno) {
	n, _, e := unix.Syscall(unix.SYS_LSEEK, uintptr(fd), uintptr(offset), uintptr(whence))
	return int64(n), e
}

// Fsync is fsync(2).
func Fsync(fd int) unix.Errno { return one(unix.SYS_FSYNC, fd, 0) }

// Fdatasync is fdatasync(2).
func Fdatasync(fd int) unix.Errno { return one(unix.SYS_FDATASYNC, fd, 0) }

// Ftruncate is ftruncate(2).
func Ftruncate(fd int, size int64) unix.Errno { return one(unix.SYS_FTRUNCATE, fd, uintptr(size)) }

// Fadvise is posix_fadvise(2).
func Fadvise(fd int, offset, length int64, advice int) unix.Errno {
	_, _, e := unix.Syscall6(unix.SYS_FADVISE64, uintptr(fd), uintptr(offset), uintptr(length), uintptr(advice), 0, 0)
	return e
}

// Fallocate is fallocate(2) of mode 0.
func Fallocate(fd int, offset, length int64) unix.Errno {
	for {
		_, _, e := unix.Syscall6(unix.SYS_FALLOCATE, uintptr(fd), 0, uintptr(offset), uintptr(length), 0, 0)
		if e != unix.EINTR {
			return e
		}
	}
}

// Flags returns the status flags of an open file description.
func Flags(fd int) (int, unix.Errno) {
	n, _, e := unix.Syscall(unix.SYS_FCNTL, uintptr(fd), unix.F_GETFL, 0)
	return int(n), e
}

// SetFlags changes them.
func SetFlags(fd, flags int) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_FCNTL, uintptr(fd), unix.F_SETFL, uintptr(flags))
	return e
}

// Readable is how many bytes wait in a pipe, terminal or socket (FIONREAD).
func Readable(fd int) (int, unix.Errno) {
	var n int32
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	return int(n), e
}

// IsTerminal tells whether a descriptor is a terminal.
func IsTerminal(fd int) bool {
	var t unix.Termios
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TCGETS, uintptr(unsafe.Pointer(&t)))
	return e == 0
}

func one(trap uintptr, fd int, arg uintptr) unix.Errno {
	for {
		_, _, e := unix.Syscall(trap, uintptr(fd), arg, 0)
		if e != unix.EINTR {
			return e
		}
	}
}
