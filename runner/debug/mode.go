package debug

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// fileMode is st_mode of stat(2).
type fileMode uint32

func (m fileMode) isDir() bool  { return m&unix.S_IFMT == unix.S_IFDIR }
func (m fileMode) isLink() bool { return m&unix.S_IFMT == unix.S_IFLNK }

func (m fileMode) isDevice() bool {
	return m&unix.S_IFMT == unix.S_IFCHR || m&unix.S_IFMT == unix.S_IFBLK
}

// String is the mode as ls prints it.
func (m fileMode) String() string {
	b := []byte("?rwxrwxrwx")
	switch m & unix.S_IFMT {
	case unix.S_IFREG:
		b[0] = '-'
	case unix.S_IFDIR:
		b[0] = 'd'
	case unix.S_IFLNK:
		b[0] = 'l'
	case unix.S_IFCHR:
		b[0] = 'c'
	case unix.S_IFBLK:
		b[0] = 'b'
	case unix.S_IFIFO:
		b[0] = 'p'
	case unix.S_IFSOCK:
		b[0] = 's'
	}
	for i := range 9 {
		if m&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	for _, special := range []struct {
		bit    fileMode
		at     int
		letter byte
	}{{unix.S_ISUID, 3, 's'}, {unix.S_ISGID, 6, 's'}, {unix.S_ISVTX, 9, 't'}} {
		if m&special.bit == 0 {
			continue
		}
		if b[special.at] == '-' {
			special.letter -= 'a' - 'A'
		}
		b[special.at] = special.letter
	}
	return string(b)
}

// kind is the type in words, as stat prints it.
func (m fileMode) kind(size int64) string {
	switch m & unix.S_IFMT {
	case unix.S_IFREG:
		if size == 0 {
			return "regular empty file"
		}
		return "regular file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFCHR:
		return "character special file"
	case unix.S_IFBLK:
		return "block special file"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "unknown"
}

// deviceNumber is "major, minor" with the given separator.
func deviceNumber(dev uint64, separator string) string {
	return utoa(uint64(unix.Major(dev))) + separator + utoa(uint64(unix.Minor(dev)))
}

// humanSize is a size in bytes with a unit of powers of 1024 and at most three
// digits, rounded up as coreutils do.
func humanSize(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return utoa(n)
	}
	unit := 0
	for n >= 1024*1024 && unit < len(units)-1 {
		// Rounding up twice gives what rounding up once would.
		n = n/1024 + min(1, n%1024)
		unit++
	}
	if tenths := ceilDiv(n*10, 1024); tenths < 100 {
		return utoa(tenths/10) + "." + utoa(tenths%10) + units[unit:unit+1]
	}
	whole := ceilDiv(n, 1024)
	if whole >= 1024 && unit < len(units)-1 {
		return "1.0" + units[unit+1:unit+2]
	}
	return utoa(whole) + units[unit:unit+1]
}

func ceilDiv(a, b uint64) uint64 { return (a + b - 1) / b }

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }
func itoa(n int64) string  { return strconv.FormatInt(n, 10) }
