package debug

import (
	"bufio"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLine exceeds what the kernel writes in one line of a table: options of a
// mount are at most a page, and each path in it is one at most.
const maxLine = 64 << 10

// lines calls do with every line of a file of the kernel.
func lines(path string, do func(line string)) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 0, 4<<10), maxLine)
	for s.Scan() {
		do(s.Text())
	}
	return s.Err()
}

// table is lines for one of the files below /proc, of which a container may
// have none.
func (c *call) table(file string, do func(line string)) bool {
	path := c.proc + "/self/" + file
	err := lines(path, do)
	switch {
	case err == nil:
		return true
	case errors.Is(err, fs.ErrNotExist):
		c.complainText(path + ": " + cause(err) + " (is /proc mounted in this container?)")
	default:
		c.complain(path, err)
	}
	return false
}

// mount prints what is mounted, in the order of mounting.
func mount(c *call) int {
	_, operands, ok := c.options("", "")
	if !ok {
		return exitUsage
	}
	if len(operands) > 0 {
		return c.refuseArguments(operands, "mount something")
	}
	c.table("mounts", func(line string) {
		if f := strings.Fields(line); len(f) >= 4 {
			c.print(printable(unescape(f[0])), " on ", printable(unescape(f[1])),
				" type ", printable(unescape(f[2])), " (", printable(unescape(f[3])), ")\n")
		}
	})
	return 0
}

// unescape undoes what the kernel does to white space and backslashes: \040.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountPoint is one line of mountinfo.
type mountPoint struct {
	id                  uint64
	point, kind, source string
}

// parseMountPoint reads a line as proc_pid_mountinfo(5) has it.
func parseMountPoint(line string) (mountPoint, bool) {
	before, after, ok := strings.Cut(line, " - ")
	f, g := strings.Fields(before), strings.Fields(after)
	if !ok || len(f) < 6 || len(g) < 2 {
		return mountPoint{}, false
	}
	id, err := strconv.ParseUint(f[0], 10, 64)
	if err != nil {
		return mountPoint{}, false
	}
	return mountPoint{id: id, point: unescape(f[4]), kind: unescape(g[0]), source: unescape(g[1])}, true
}

// df prints the file systems that have a size, or those of the operands.
func df(c *call) int {
	o, operands, ok := c.options("hiTakP", "")
	if !ok {
		return exitUsage
	}
	if len(operands) == 0 {
		c.dfTitle(o)
		c.table("mountinfo", func(line string) {
			m, ok := parseMountPoint(line)
			if !ok || c.broken() {
				return
			}
			// What another mount hides cannot be asked for.
			if id, err := mountID(m.point); err == nil && id != m.id {
				return
			}
			var st unix.Statfs_t
			if err := statfs(m.point, &st); err != nil {
				c.complain(m.point, err)
				return
			}
			if st.Blocks > 0 || o.has('a') {
				c.dfLine(o, m, &st)
			}
		})
		return 0
	}
	titled := false
	for _, name := range operands {
		var st unix.Statfs_t
		if err := statfs(name, &st); err != nil {
			c.complain(name, err)
			continue
		}
		if !titled {
			c.dfTitle(o)
			titled = true
		}
		c.dfLine(o, c.mountOf(name), &st)
	}
	return 0
}

// mountOf finds the mount that a file is on.
func (c *call) mountOf(name string) mountPoint {
	found := mountPoint{source: "-", kind: "-", point: name}
	id, err := mountID(name)
	if err != nil {
		return found
	}
	c.table("mountinfo", func(line string) {
		if m, ok := parseMountPoint(line); ok && m.id == id {
			found = m
		}
	})
	return found
}

func (c *call) dfTitle(o options) {
	c.print("Filesystem          ")
	if o.has('T') {
		c.print(" Type      ")
	}
	switch {
	case o.has('i'):
		c.print("    Inodes     IUsed     IFree IUse%")
	case o.has('h'):
		c.print("      Size      Used Available  Use%")
	default:
		c.print(" 1K-blocks      Used Available  Use%")
	}
	c.print(" Mounted on\n")
}

func (c *call) dfLine(o options, m mountPoint, st *unix.Statfs_t) {
	c.print(padRight(printable(m.source), 20))
	if o.has('T') {
		c.print(" ", padRight(printable(m.kind), 9), " ")
	}
	// As coreutils: the share of what users other than root could have.
	all, free, available, unit := st.Blocks, st.Bfree, st.Bavail, uint64(st.Frsize)
	if unit == 0 {
		unit = uint64(st.Bsize)
	}
	if o.has('i') {
		all, free, available, unit = st.Files, st.Ffree, st.Ffree, 1
	}
	used := all - min(free, all)
	share := "-"
	if used+available > 0 {
		share = utoa(ceilShare(used, used+available)) + "%"
	}
	amount := func(n uint64) string {
		switch {
		case o.has('h'):
			return humanSize(n * unit)
		case o.has('i'):
			return utoa(n)
		}
		return utoa(ceilDiv(n*unit, 1024))
	}
	c.print(padLeft(amount(all), 10), padLeft(amount(used), 10), padLeft(amount(available), 10),
		padLeft(share, 6), " ", printable(m.point), "\n")
}

// ceilShare is a percentage, rounded up; sizes in blocks do not overflow it.
func ceilShare(part, whole uint64) uint64 {
	for part > 1<<57 {
		part, whole = part>>1, whole>>1
	}
	return ceilDiv(part*100, whole)
}

// mountID is the number of the mount that a file is on, since Linux 5.8.
func mountID(name string) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, name, unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st); err != nil {
		return 0, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, unix.ENOSYS
	}
	return st.Mnt_id, nil
}

func statfs(name string, st *unix.Statfs_t) error {
	for {
		if err := unix.Statfs(name, st); err != unix.EINTR {
			return err
		}
	}
}
