package debug

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxAccounts bounds what is read of /etc/passwd and /etc/group: both are the
// image's. Whoever comes later in the file is known by number.
const maxAccounts = 256 << 10

// user returns the name of a user, or its number.
func (c *call) user(uid uint32) string {
	if c.users == nil {
		c.users = readAccounts(c.etc + "/passwd")
	}
	return nameOr(c.users, uid)
}

// group returns the name of a group, or its number.
func (c *call) group(gid uint32) string {
	if c.groups == nil {
		c.groups = readAccounts(c.etc + "/group")
	}
	return nameOr(c.groups, gid)
}

func nameOr(names map[uint32]string, n uint32) string {
	if name, ok := names[n]; ok {
		return name
	}
	return strconv.FormatUint(uint64(n), 10)
}

// readAccounts returns names by number. A file that is missing, or that is not
// one, knows nobody; it is not waited for if it is a pipe.
func readAccounts(path string) map[uint32]string {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return map[uint32]string{}
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return map[uint32]string{}
	}
	b, _ := io.ReadAll(io.LimitReader(f, maxAccounts))
	return parseAccounts(b)
}

// parseAccounts reads lines of the form name:password:number:…, of which the
// first with a number counts, as in the C library.
func parseAccounts(b []byte) map[uint32]string {
	names := map[uint32]string{}
	for line := range bytes.Lines(b) {
		fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 4)
		if len(fields) < 3 || fields[0] == "" {
			continue
		}
		n, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			continue
		}
		if _, ok := names[uint32(n)]; !ok {
			names[uint32(n)] = printable(fields[0])
		}
	}
	return names
}
