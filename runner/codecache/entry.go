package codecache

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is compiled code that has been verified. It is not evicted before Close,
// or the end of the process.
type Entry struct {
	code    *os.File
	key     Key
	created time.Time
	size    int64
	// lock is the entry's directory, locked.
	lock *os.File
	// discard removes an entry that is not kept; nil for others.
	discard func() error
}

func newEntry(code int, m *meta) *Entry {
	e := &Entry{code: os.NewFile(uintptr(code), "code"), key: m.key(), created: m.Created}
	for _, f := range m.Files {
		e.size += f.Size
	}
	return e
}

// Key is what the code is of.
func (e *Entry) Key() Key { return e.key }

// Kept tells that the entry stays after Close: there was room for it.
func (e *Entry) Kept() bool { return e.discard == nil }

// Created is when the code was compiled.
func (e *Entry) Created() time.Time { return e.created }

// Size is the number of bytes of code.
func (e *Entry) Size() int64 { return e.size }

// Close releases the entry. Whoever has a mount of it must have opened what it
// needs: from now on the entry can be evicted, and one that did not fit into the
// cache is removed.
func (e *Entry) Close() error {
	err := e.code.Close()
	if e.discard != nil {
		err = errors.Join(err, e.discard())
	}
	if e.lock != nil {
		err = errors.Join(err, e.lock.Close())
	}
	return err
}

// OpenMount returns the entry's directory, in which the engine finds its own
// directory, as a read-only mount that is attached nowhere. Whoever inherits the
// descriptor reads the code as /proc/self/fd/<n>, also from another root and as
// another user; ".." does not lead out of it, and nothing can be written. That code
// can be mapped from it, which "noexec" would forbid, does not make its files
// programs: their mode lets nobody execute them. It takes CAP_SYS_ADMIN and kernel 5.12.
func (e *Entry) OpenMount() (*os.File, error) {
	fd, err := unix.OpenTree(int(e.code.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, fmt.Errorf("mount compiled code: %w", os.NewSyscallError("open_tree", err))
	}
	runtime.KeepAlive(e)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mount compiled code: %w", os.NewSyscallError("mount_setattr", err))
	}
	return os.NewFile(uintptr(fd), "compiled code"), nil
}
