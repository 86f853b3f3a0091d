package descriptor

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// Tree is a directory that the guest was given, with all below it. No path of
// the guest leads out of it, whatever links it contains and whoever renames
// what in the middle of a walk: the kernel resolves paths under that condition
// (openat2, Linux 5.6), or walk does, one component at a time.
//
// # Notes
//
//   - In the tree that the guest knows as "/", an absolute symbolic link starts
//     at the tree's root, and so does ".." above it: images are full of links
//     such as /etc/mtab -> /proc/mounts. In every other tree such links cannot be
//     followed.
//   - The magic links of procfs are never followed: they lead to files, not to
//     paths.
type Tree struct {
	// InRoot tells that it is the guest's "/".
	InRoot bool
	// ReadOnly refuses every change.
	ReadOnly bool

	root     int
	dev, ino uint64
	// proc tells that the root itself is on procfs.
	proc bool
	// openat2 tells that the kernel has it.
	openat2 bool
}

// OpenTree opens a directory of this process. Its error wraps the system's.
func OpenTree(path string, inRoot, readOnly bool) (*Tree, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOTDIR {
		return nil, fmt.Errorf("not a directory: %w", err)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	t := &Tree{InRoot: inRoot, ReadOnly: readOnly, root: fd}
	var st unix.Stat_t
	if e := kernel.Fstat(fd, &st); e != 0 {
		t.Close()
		return nil, os.NewSyscallError("fstat", e)
	}
	t.dev, t.ino, t.proc = st.Dev, st.Ino, kernel.OnProc(fd)
	// Before Linux 5.6 it is unknown; seccomp profiles of that time refuse it.
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}
	if probe, e := kernel.Openat2(fd, dot, &how); e == 0 {
		_ = kernel.Close(probe)
		t.openat2 = true
	}
	return t, nil
}

// Close closes what the tree itself holds.
func (t *Tree) Close() { _ = kernel.Close(t.root) }

// Raw is the raw descriptor that the tree owns.
func (t *Tree) Raw() int { return t.root }

// dot is ".", with a NUL behind.
var dot = []byte(".\x00")[:1]

// AddTree adds a tree's root to the table, as a directory of that name.
func (t *Table) AddTree(tree *Tree, name string) (*Descriptor, unix.Errno) {
	// Who may enter a directory but not list it can still use what it knows.
	fd, e := kernel.Openat(tree.root, dot, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if e == unix.EACCES {
		fd, e = kernel.Openat(tree.root, dot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if e != 0 {
		return nil, e
	}
	d, _, e := t.Add(fd, 0)
	if e != 0 {
		return nil, e
	}
	d.Preopen, d.tree, d.atRoot = name, tree, true
	return d, 0
}

// check refuses what is outside of a directory by the look of it.
func (d *Descriptor) check(p *kernel.Path) unix.Errno {
	if d.Type != Directory || d.tree == nil {
		return unix.ENOTDIR
	}
	b := p.Bytes()
	if b[0] == '/' {
		return unix.EPERM
	}
	// From the guest's "/" the kernel would stay at the root, where it refuses
	// from everywhere else; WASI wants a refusal.
	if d.atRoot && d.tree.InRoot && climbs(b) {
		return unix.EPERM
	}
	return 0
}

// climbs tells whether a path has more ".." than names at some point.
func climbs(path []byte) bool {
	if !bytes.Contains(path, []byte("..")) {
		return false
	}
	depth := 0
	for name := range bytes.SplitSeq(path, []byte("/")) {
		switch string(name) {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}

// maxRaces is how often a walk is begun again because somebody renamed a
// directory meanwhile.
const maxRaces = 128

// openat opens a path below a directory.
func (d *Descriptor) openat(p *kernel.Path, flags int, mode uint32) (int, unix.Errno) {
	t := d.tree
	if !t.openat2 {
		return t.openWalking(d, p, flags, mode)
	}
	how := unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = uint64(mode)
	}
	if t.InRoot && d.atRoot {
		how.Resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	}
	for range maxRaces {
		fd, e := kernel.Openat2(d.fd, p.Bytes(), &how)
		switch {
		case e == unix.EAGAIN:
			continue // A rename in the middle of a "..".
		case e == unix.EXDEV && t.InRoot && !d.atRoot:
			// Perhaps a link that leads elsewhere in the guest's own root.
			return t.openWalking(d, p, flags, mode)
		case e == unix.EXDEV:
			return 0, unix.EPERM
		}
		return fd, e
	}
	return 0, unix.EAGAIN
}

// Open opens a file or directory below a directory. Flags are those of open(2).
func (t *Table) Open(d *Descriptor, p *kernel.Path, flags int, mode uint32) (*Descriptor, uint32, unix.Errno) {
	if e := d.check(p); e != 0 {
		return nil, 0, e
	}
	if e := t.Room(); e != 0 {
		return nil, 0, e
	}
	if d.tree.ReadOnly && changes(flags) {
		return nil, 0, unix.EROFS
	}
	tree := d.tree
	fd, e := d.openat(p, flags, mode)
	if e != 0 {
		return nil, 0, e
	}
	var st unix.Stat_t
	if e := kernel.Fstat(fd, &st); e != 0 {
		_ = kernel.Close(fd)
		return nil, 0, e
	}
	// The tree's own filesystem is known; its number cannot be given to another
	// while the tree is held.
	if (st.Dev != tree.dev || tree.proc) && kernel.OnProc(fd) {
		_ = kernel.Close(fd)
		if fd, e = tree.openProc(d, p, flags); e != 0 {
			return nil, 0, e
		}
	}
	file, n, e := t.Add(fd, flags)
	if e != 0 {
		return nil, 0, e
	}
	if file.Type == Directory || file.Type == RegularFile {
		file.tree = tree
		file.atRoot = st.Dev == tree.dev && st.Ino == tree.ino
	}
	return file, n, 0
}

func changes(flags int) bool {
	return flags&unix.O_ACCMODE != unix.O_RDONLY || flags&(unix.O_CREAT|unix.O_TRUNC) != 0
}
