package debug

import (
	"cmp"
	"errors"
	"io"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// listing is one call of ls.
type listing struct {
	*call
	options
	header  bool // directories are announced by name
	started bool // something was printed, so that a blank line comes first
}

// entry is one name and what is shown of it; of no file more is kept.
type entry struct {
	name             string
	known            bool // the fields below are filled
	mode             fileMode
	uid, gid         uint32
	links, rdev, ino uint64
	size, blocks     int64 // bytes, units of 512 bytes
	mtime            unix.Timespec
}

// ls prints one name a line: without a shell nobody knows how wide the
// terminal is.
func ls(c *call) int {
	o, operands, ok := c.options("laA1dhRnitSr", "")
	if !ok {
		return exitUsage
	}
	if o.has('n') {
		o.flags['l'] = true
	}
	if len(operands) == 0 {
		operands = []string{"."}
	}
	l := &listing{call: c, options: o, header: o.has('R') || len(operands) > 1}

	var files, dirs []entry
	for _, name := range operands {
		e := entry{name: name}
		if err := e.stat(unix.AT_FDCWD, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			c.complain(name, err)
			continue
		}
		if e.mode.isLink() && !o.has('l') && !o.has('d') {
			// As coreutils do: a link that leads nowhere is shown itself.
			to := entry{name: name}
			if err := to.stat(unix.AT_FDCWD, 0); err == nil && to.mode.isDir() {
				e = to
			}
		}
		if e.mode.isDir() && !o.has('d') {
			dirs = append(dirs, e)
		} else {
			files = append(files, e)
		}
	}
	l.sort(files)
	l.sort(dirs)
	if len(files) > 0 {
		l.show(unix.AT_FDCWD, files)
		l.started = true
	}
	slices.Reverse(dirs)
	var pending []string
	for _, e := range dirs {
		pending = append(pending, e.name)
	}
	l.walk(pending)
	return 0
}

// maxPaths bounds the paths of directories that wait for their turn, in bytes.
const maxPaths = 4 << 20

// walk lists directories, the last one first, and with -R what is below them.
func (l *listing) walk(pending []string) {
	size := 0
	for _, dir := range pending {
		size += len(dir)
	}
	for len(pending) > 0 && !l.broken() {
		dir := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		size -= len(dir)
		below := l.directory(dir)
		for _, name := range slices.Backward(below) {
			if size > maxPaths {
				l.complainText(printable(dir) + ": too many directories; some of those below it are left out")
				break
			}
			path := join(dir, name)
			size += len(path)
			pending = append(pending, path)
		}
	}
}

// directory lists one directory and returns, with -R, the names of those in it.
func (l *listing) directory(dir string) (below []string) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		l.complain(dir, err)
		return nil
	}
	defer f.Close()
	// The descriptor is the file's as long as f is not closed.
	fd := int(f.Fd())
	names, err := l.names(f)
	if err != nil {
		l.complain(dir, err)
	}
	entries := make([]entry, 0, len(names))
	for _, name := range names {
		e := entry{name: name}
		if l.has('l') || l.has('t') || l.has('S') || l.has('i') || l.has('R') {
			if err := e.stat(fd, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				if errors.Is(err, unix.ENOENT) {
					continue // removed since
				}
				l.complain(join(dir, name), err)
			}
		}
		entries = append(entries, e)
	}
	l.sort(entries)
	if l.header {
		if l.started {
			l.print("\n")
		}
		l.print(printable(dir), ":\n")
	}
	l.started = true
	if l.has('l') {
		l.print("total ", l.total(entries), "\n")
	}
	l.show(fd, entries)
	if l.has('R') {
		for _, e := range entries {
			if e.mode.isDir() && e.name != "." && e.name != ".." {
				below = append(below, e.name)
			}
		}
	}
	return below
}

// names reads a directory's names. It returns those that it has read together
// with an error.
func (l *listing) names(f *os.File) ([]string, error) {
	var names []string
	if l.has('a') {
		names = append(names, ".", "..")
	}
	for {
		some, err := f.Readdirnames(512)
		for _, name := range some {
			if name[0] == '.' && !l.has('a') && !l.has('A') {
				continue
			}
			if len(names) == l.maxNames {
				return names, errors.New("too many names; shown are " + itoa(int64(l.maxNames)))
			}
			names = append(names, name)
		}
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return names, err
		}
	}
}

func (l *listing) sort(entries []entry) {
	// Not slices.SortFunc, which would be compiled once more for this type.
	sort.Slice(entries, func(i, j int) bool {
		a, b := &entries[i], &entries[j]
		order := 0
		switch {
		case l.has('S'):
			order = cmp.Compare(b.size, a.size)
		case l.has('t'):
			order = cmp.Compare(b.mtime.Nano(), a.mtime.Nano())
		}
		if order == 0 {
			order = strings.Compare(a.name, b.name)
		}
		if l.has('r') {
			return order > 0
		}
		return order < 0
	})
}

// total is the space that entries take, in KiB.
func (l *listing) total(entries []entry) string {
	var blocks int64
	for _, e := range entries {
		blocks += e.blocks
	}
	if l.has('h') {
		return humanSize(uint64(blocks) * 512)
	}
	return itoa((blocks + 1) / 2)
}

// show prints entries of the directory fd, in columns with -l.
func (l *listing) show(fd int, entries []entry) {
	var width struct{ ino, links, user, group, size int }
	for i := range entries {
		e := &entries[i]
		width.ino = max(width.ino, len(l.ino(e)))
		if l.has('l') {
			width.links = max(width.links, len(l.links(e)))
			width.user = max(width.user, len(l.owner(e)))
			width.group = max(width.group, len(l.ownerGroup(e)))
			width.size = max(width.size, len(l.size(e)))
		}
	}
	for i := range entries {
		e := &entries[i]
		if l.has('i') {
			l.print(padLeft(l.ino(e), width.ino), " ")
		}
		if !l.has('l') {
			l.print(printable(e.name), "\n")
			continue
		}
		l.print(l.modeOf(e), " ", padLeft(l.links(e), width.links), " ",
			padRight(l.owner(e), width.user), " ", padRight(l.ownerGroup(e), width.group), " ",
			padLeft(l.size(e), width.size), " ", l.time(e), " ", printable(e.name))
		if e.known && e.mode.isLink() {
			target, err := readlink(fd, e.name)
			if err != nil {
				l.print("\n")
				l.complain(e.name, err)
				continue
			}
			l.print(" -> ", printable(target))
		}
		l.print("\n")
	}
}

// What could not be read is a question mark, as in coreutils.

func (l *listing) ino(e *entry) string {
	if !e.known {
		return "?"
	}
	return utoa(e.ino)
}

func (l *listing) modeOf(e *entry) string {
	if !e.known {
		return "??????????"
	}
	return e.mode.String()
}

func (l *listing) links(e *entry) string {
	if !e.known {
		return "?"
	}
	return utoa(e.links)
}

func (l *listing) owner(e *entry) string {
	switch {
	case !e.known:
		return "?"
	case l.has('n'):
		return utoa(uint64(e.uid))
	}
	return l.user(e.uid)
}

func (l *listing) ownerGroup(e *entry) string {
	switch {
	case !e.known:
		return "?"
	case l.has('n'):
		return utoa(uint64(e.gid))
	}
	return l.group(e.gid)
}

func (l *listing) size(e *entry) string {
	switch {
	case !e.known:
		return "?"
	case e.mode.isDevice():
		return deviceNumber(e.rdev, ", ")
	case l.has('h'):
		return humanSize(uint64(e.size))
	}
	return itoa(e.size)
}

// time shows the year where the hour says little: half a year ago, or later
// than now.
func (l *listing) time(e *entry) string {
	if !e.known {
		return padLeft("?", len("Jan  2 15:04"))
	}
	now := l.now()
	t := time.Unix(e.mtime.Unix()).UTC()
	if t.After(now) || now.Sub(t) > 365*24*time.Hour/2 {
		return t.Format("Jan _2  2006")
	}
	return t.Format("Jan _2 15:04")
}

// stat fills in what is known of e.name below the directory dirfd.
func (e *entry) stat(dirfd, flags int) error {
	var st unix.Stat_t
	if err := fstatat(dirfd, e.name, &st, flags); err != nil {
		return err
	}
	e.known = true
	e.mode, e.uid, e.gid = fileMode(st.Mode), st.Uid, st.Gid
	e.links, e.rdev, e.ino = uint64(st.Nlink), uint64(st.Rdev), st.Ino
	e.size, e.blocks = st.Size, st.Blocks
	e.mtime = st.Mtim
	return nil
}

func fstatat(dirfd int, name string, st *unix.Stat_t, flags int) error {
	for {
		// A file system in user space may be interrupted by Go's own signals.
		if err := unix.Fstatat(dirfd, name, st, flags); err != unix.EINTR {
			return err
		}
	}
}

func readlink(dirfd int, name string) (string, error) {
	var b [unix.PathMax]byte
	n, err := unix.Readlinkat(dirfd, name, b[:])
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// join keeps a path as it was given: "a/../b" may differ from "b".
func join(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}
