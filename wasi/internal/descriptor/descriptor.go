package descriptor

import (
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// Type is what kind of thing a descriptor is open on.
type Type uint8

// The types that guests can tell apart. Pipes and what the kernel may invent
// are Unknown.
const (
	Unknown Type = iota
	BlockDevice
	CharacterDevice
	Directory
	RegularFile
	DatagramSocket
	StreamSocket
	SymbolicLink
)

// Descriptor is one entry of a guest's table.
type Descriptor struct {
	// fd is the descriptor in this process; negative for one that reads as empty
	// and discards what is written.
	fd int
	// Type does not change.
	Type Type
	// Terminal tells that a character device is a terminal.
	Terminal bool
	// flags are the guest's O_APPEND, O_NONBLOCK, O_DSYNC and O_SYNC.
	flags int
	// softSync are those of O_DSYNC and O_SYNC that the kernel does not know of,
	// because they cannot be set on an open file: each write asks for them.
	softSync int
	// inherited tells that the open file description is shared with other
	// processes: its flags are theirs, so that the guest's O_NONBLOCK is kept
	// here alone.
	inherited bool

	// brief tells whether a call on a file waits for nobody else.
	brief brevity

	// undecided tells that the guest found the socket and has neither asked for
	// its flags nor set them; see AddListener and AddStream.
	undecided bool

	// Base and Inheriting are the rights of WASI preview 1, whose meaning is the
	// ABI's.
	Base, Inheriting uint64
	// Preopen is the guest's name of a directory that it was given, or empty.
	Preopen string

	// tree is what a file or directory was opened in; nil for others.
	tree *Tree
	// atRoot tells that a directory is the root of its tree.
	atRoot bool

	// peer is the address of an accepted connection: the kernel forgets it when
	// the connection is reset, which may be before the guest asks.
	peer     [28]byte
	peerSize uint8
	// writes counts how often the guest was told that it can write, since it
	// last tried to or received something.
	writes uint8
	// held tells that the poll in progress does not ask whether it can be written.
	held bool
	// slot is the place in the set of the poll of the same number.
	slot int
	poll uint64

	next *Descriptor
}

// init makes a descriptor of a raw one, which it then owns.
func (d *Descriptor) init(fd int, st *unix.Stat_t) {
	*d = Descriptor{fd: fd, Type: TypeOf(st.Mode)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		d.Terminal = kernel.IsTerminal(fd)
	case unix.S_IFSOCK:
		d.Type = StreamSocket
		if kind, e := kernel.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); e == 0 && kind != unix.SOCK_STREAM {
			d.Type = DatagramSocket
		}
	}
}

// TypeOf returns the type of a file of that mode.
func TypeOf(mode uint32) Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return BlockDevice
	case unix.S_IFCHR:
		return CharacterDevice
	case unix.S_IFDIR:
		return Directory
	case unix.S_IFREG:
		return RegularFile
	case unix.S_IFLNK:
		return SymbolicLink
	case unix.S_IFSOCK:
		return StreamSocket
	}
	return Unknown
}

// IsSocket tells whether it is a socket.
func (d *Descriptor) IsSocket() bool { return d.Type == StreamSocket || d.Type == DatagramSocket }

// ReadOnly tells that nothing may be changed through it, nor below it.
func (d *Descriptor) ReadOnly() bool { return d.tree != nil && d.tree.ReadOnly }

// Flags are O_APPEND, O_NONBLOCK, O_DSYNC and O_SYNC as the guest set them.
func (d *Descriptor) Flags() int {
	if d.undecided {
		_ = d.SetFlags(unix.O_NONBLOCK)
	}
	return d.flags | d.softSync
}

const settable = unix.O_APPEND | unix.O_NONBLOCK

// SetFlags sets them. On an inherited stream only the mode of the guest's own
// calls changes.
func (d *Descriptor) SetFlags(flags int) unix.Errno {
	d.undecided = false
	if d.inherited || d.fd < 0 {
		d.flags = flags & unix.O_NONBLOCK
		return 0
	}
	if d.IsSocket() {
		flags &= unix.O_NONBLOCK
	}
	if (flags^d.flags)&settable != 0 {
		now, e := kernel.Flags(d.fd)
		if e != 0 {
			return e
		}
		if e := kernel.SetFlags(d.fd, now&^settable|flags&settable); e != 0 {
			return e
		}
	}
	opened := d.flags & unix.O_SYNC
	d.flags = flags&settable | opened
	d.softSync = flags & unix.O_SYNC &^ opened
	return 0
}

// Stat is fstat(2); one that discards looks like /dev/null.
func (d *Descriptor) Stat(st *unix.Stat_t) unix.Errno {
	if d.fd < 0 {
		*st = unix.Stat_t{Nlink: 1, Mode: unix.S_IFCHR}
		return 0
	}
	return kernel.Fstat(d.fd, st)
}
