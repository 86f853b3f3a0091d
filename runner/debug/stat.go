package debug

import (
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// stat prints one file after the other, in the layout of coreutils or in that
// of -c. Links are not followed but with -L.
func stat(c *call) int {
	o, operands, ok := c.options("L", "c")
	if !ok {
		return exitUsage
	}
	if len(operands) == 0 {
		return c.usageError("which file?")
	}
	flags := unix.AT_SYMLINK_NOFOLLOW
	if o.has('L') {
		flags = 0
	}
	for _, name := range operands {
		var st unix.Stat_t
		if err := fstatat(unix.AT_FDCWD, name, &st, flags); err != nil {
			c.complain(name, err)
			continue
		}
		if !o.has('c') {
			c.statLong(name, &st)
			continue
		}
		text, bad := c.statFormat(o.values['c'], name, &st)
		if bad != "" {
			return c.usageError("unknown format " + printable(bad))
		}
		c.print(text, "\n")
	}
	return 0
}

func (c *call) statLong(name string, st *unix.Stat_t) {
	mode := fileMode(st.Mode)
	c.print("  File: ", printable(name))
	if mode.isLink() {
		if target, err := readlink(unix.AT_FDCWD, name); err == nil {
			c.print(" -> ", printable(target))
		}
	}
	fmt.Fprintf(c.out, "\n  Size: %-10d\tBlocks: %-10d IO Block: %-6d %s\n", st.Size, st.Blocks, st.Blksize, mode.kind(st.Size))
	fmt.Fprintf(c.out, "Device: %s\tInode: %-11d Links: %d", deviceNumber(uint64(st.Dev), ","), st.Ino, st.Nlink)
	if mode.isDevice() {
		c.print("     Device type: ", deviceNumber(uint64(st.Rdev), ","))
	}
	fmt.Fprintf(c.out, "\nAccess: (%04o/%s)  Uid: (%5d/%8s)   Gid: (%5d/%8s)\n",
		st.Mode&0o7777, mode, st.Uid, c.user(st.Uid), st.Gid, c.group(st.Gid))
	c.print("Access: ", fullTime(st.Atim), "\n")
	c.print("Modify: ", fullTime(st.Mtim), "\n")
	c.print("Change: ", fullTime(st.Ctim), "\n")
}

// statFormat replaces the verbs of format. It returns the first one that it
// does not know as bad.
func (c *call) statFormat(format, name string, st *unix.Stat_t) (text, bad string) {
	mode := fileMode(st.Mode)
	var b []byte
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b = append(b, format[i])
			continue
		}
		i++
		var value string
		switch format[i] {
		case '%':
			value = "%"
		case 'n':
			value = printable(name)
		case 's':
			value = itoa(st.Size)
		case 'b':
			value = itoa(st.Blocks)
		case 'a':
			value = strconv.FormatUint(uint64(st.Mode&0o7777), 8)
		case 'A':
			value = mode.String()
		case 'F':
			value = mode.kind(st.Size)
		case 'u':
			value = utoa(uint64(st.Uid))
		case 'U':
			value = c.user(st.Uid)
		case 'g':
			value = utoa(uint64(st.Gid))
		case 'G':
			value = c.group(st.Gid)
		case 'i':
			value = utoa(st.Ino)
		case 'h':
			value = utoa(uint64(st.Nlink))
		case 'x':
			value = fullTime(st.Atim)
		case 'X':
			value = itoa(int64(st.Atim.Sec))
		case 'y':
			value = fullTime(st.Mtim)
		case 'Y':
			value = itoa(int64(st.Mtim.Sec))
		case 'z':
			value = fullTime(st.Ctim)
		case 'Z':
			value = itoa(int64(st.Ctim.Sec))
		default:
			return "", format[i-1 : i+1]
		}
		b = append(b, value...)
	}
	return string(b), ""
}

func fullTime(ts unix.Timespec) string {
	return time.Unix(ts.Unix()).UTC().Format("2006-01-02 15:04:05.000000000 -0700")
}
