package descriptor

import (
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// Table numbers the descriptors of one guest.
//
// # Notes
//
//   - A new descriptor gets the lowest free number, as POSIX wants it and guests
//     that close 0 and open a file expect it.
//   - The limits bound what a guest can make this process hold; the kernel's
//     RLIMIT_NOFILE counts as well, whichever is lower.
type Table struct {
	slots []*Descriptor
	// low is at most the lowest free number.
	low int
	// open and dirs count what is in use, against their limits.
	open, dirs       int
	maxOpen, maxDirs int
	free             *Descriptor
}

// NewTable returns an empty table with limits on open descriptors and, among
// them, directories.
func NewTable(maxOpen, maxDirs int) *Table {
	return &Table{maxOpen: maxOpen, maxDirs: maxDirs}
}

// Get returns a descriptor, or nil.
func (t *Table) Get(n uint32) *Descriptor {
	if uint64(n) >= uint64(len(t.slots)) {
		return nil
	}
	return t.slots[n]
}

// Room fails with EMFILE when there is no room for one more descriptor. It is
// asked before something is opened, which may have effects.
func (t *Table) Room() unix.Errno {
	if t.open >= t.maxOpen {
		return unix.EMFILE
	}
	return 0
}

// AddInherited adds a stream that this process inherited; fd is negative for
// one that reads as empty and discards.
func (t *Table) AddInherited(fd int) (uint32, unix.Errno) {
	var st unix.Stat_t
	d := t.take()
	if fd < 0 || kernel.Fstat(fd, &st) != 0 {
		*d = Descriptor{fd: -1, Type: CharacterDevice}
	} else {
		d.init(fd, &st)
	}
	d.inherited = true
	return t.insert(d)
}

// Add adds a raw descriptor and owns it from then on, whether it succeeds or
// not. Flags are its O_APPEND, O_NONBLOCK, O_DSYNC and O_SYNC.
func (t *Table) Add(fd, flags int) (*Descriptor, uint32, unix.Errno) {
	var st unix.Stat_t
	if e := kernel.Fstat(fd, &st); e != 0 {
		_ = kernel.Close(fd)
		return nil, 0, e
	}
	d := t.take()
	d.init(fd, &st)
	d.flags = flags & (settable | unix.O_SYNC)
	n, e := t.insert(d)
	return d, n, e
}

func (t *Table) insert(d *Descriptor) (uint32, unix.Errno) {
	if t.open >= t.maxOpen || d.Type == Directory && t.dirs >= t.maxDirs {
		t.release(d)
		return 0, unix.EMFILE
	}
	n := t.low
	for n < len(t.slots) && t.slots[n] != nil {
		n++
	}
	if n == len(t.slots) {
		t.slots = append(t.slots, nil)
	}
	t.slots[n] = d
	t.low = n + 1
	t.count(d, 1)
	return uint32(n), 0
}

func (t *Table) count(d *Descriptor, n int) {
	t.open += n
	if d.Type == Directory {
		t.dirs += n
	}
}

// Close closes a descriptor.
func (t *Table) Close(n uint32) unix.Errno {
	d := t.Get(n)
	if d == nil {
		return unix.EBADF
	}
	t.slots[n] = nil
	t.low = min(t.low, int(n))
	t.count(d, -1)
	return t.release(d)
}

// Renumber gives a descriptor another number and closes what had that number,
// as dup2 and a close of the first would.
func (t *Table) Renumber(from, to uint32) unix.Errno {
	d := t.Get(from)
	if d == nil || t.Get(to) == nil {
		return unix.EBADF
	}
	if from == to {
		return 0
	}
	_ = t.Close(to)
	t.slots[from], t.slots[to] = nil, d
	t.low = min(t.low, int(from))
	return 0
}

// CloseAll closes everything that was opened for the guest.
func (t *Table) CloseAll() {
	for n := range t.slots {
		_ = t.Close(uint32(n))
	}
}

// Raw are the raw descriptors that the table owns.
func (t *Table) Raw() (all []int) {
	for _, d := range t.slots {
		if d != nil && d.fd >= 0 && !d.inherited {
			all = append(all, d.fd)
		}
	}
	return all
}

// take returns an unused descriptor. Closed ones are used again, because a
// server opens and closes for ever and garbage is never collected in time.
func (t *Table) take() *Descriptor {
	d := t.free
	if d == nil {
		return &Descriptor{}
	}
	t.free = d.next
	return d
}

// release closes the raw descriptor, unless it was inherited: the process's own
// streams stay, for the trap that is to be reported on them and because their
// numbers must not be taken by something else.
func (t *Table) release(d *Descriptor) (e unix.Errno) {
	if d.fd >= 0 && !d.inherited {
		e = kernel.Close(d.fd)
	}
	// The kernel frees the number even when it was interrupted.
	if e == unix.EINTR {
		e = 0
	}
	*d = Descriptor{fd: -1, next: t.free}
	t.free = d
	return e
}
