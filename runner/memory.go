package runner

import (
	"fmt"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// pageSize is WebAssembly's, in bytes.
const pageSize = 64 << 10

// linearMemory is the memory of one guest: a range of addresses reserved once,
// of which growing makes more accessible. Growing copies nothing, the guest's
// pages are outside the Go heap, the kernel zeroes them, and they count in the
// cgroup only once they are touched.
//
// It enforces the cap: wazero's own limit is part of the engine's
// configuration, which must be the same wherever compiled code is shared.
type linearMemory struct {
	reserved []byte
	// size is how many bytes from the start are accessible.
	size uint64
}

// newLinearMemory reserves what the module may ever use, at most limit bytes,
// and makes its minimum accessible. The minimum is within the limit
// (checkMemory). Doing this before the guest is released turns a lack of
// memory into an error of Create.
func newLinearMemory(m memoryInfo, limit uint64) (*linearMemory, error) {
	reserve := min(m.max*pageSize, limit)
	if reserve == 0 {
		return &linearMemory{}, nil
	}
	// MAP_NORESERVE: with vm.overcommit_memory=2 only what becomes accessible
	// may count.
	b, err := unix.Mmap(-1, 0, int(reserve), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %s of addresses: %w", size(reserve), err)
	}
	l := &linearMemory{reserved: b}
	if l.Reallocate(m.min*pageSize) == nil {
		l.Free()
		return nil, fmt.Errorf("allocate %s: %w", size(m.min*pageSize), unix.ENOMEM)
	}
	return l, nil
}

// Allocate implements experimental.MemoryAllocator; a guest has one memory, and
// this is it.
func (l *linearMemory) Allocate(_, _ uint64) experimental.LinearMemory { return l }

// Reallocate implements experimental.LinearMemory. It returns nil, which makes
// memory.grow fail, above the cap or when the kernel has no memory.
func (l *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(l.reserved)) {
		return nil
	}
	if size > l.size {
		if err := unix.Mprotect(l.reserved[l.size:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return nil
		}
		l.size = size
	}
	// wazero takes nil for a failure, and a module may have an empty memory.
	if size == 0 {
		return []byte{}
	}
	return l.reserved[:size:size]
}

// Free implements experimental.LinearMemory.
func (l *linearMemory) Free() {
	if l.reserved != nil {
		_ = unix.Munmap(l.reserved)
		l.reserved, l.size = nil, 0
	}
}
