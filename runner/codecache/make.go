package codecache

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// LookupOrMake finds the code of a key, and otherwise lets fill write it into a
// draft, which becomes the entry. Of all processes that use the cache one at a
// time does so for a key, and the others then find the entry. Who has waited for
// as long as patience makes one of its own instead: the other may be hindered,
// and is not trusted with anybody's time.
//
// A failure of fill fails this call alone; who waits tries for itself, since its
// limits may be others. Errors of fill are returned as they are.
func (c *Cache) LookupOrMake(ctx context.Context, k Key, patience time.Duration, fill func(*Draft) error) (*Entry, error) {
	if e, err := c.lookupAndTell(k); !errors.Is(err, ErrMiss) {
		return e, err
	}
	unlock, err := c.lockKey(ctx, k, patience)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if e, err := c.lookupAndTell(k); !errors.Is(err, ErrMiss) {
		return e, err
	}
	d, err := c.Begin(k)
	if err != nil {
		return nil, err
	}
	if err := fill(d); err != nil {
		_ = d.Discard() // or Open sweeps it
		return nil, err
	}
	return d.Commit()
}

func (c *Cache) lookupAndTell(k Key) (*Entry, error) {
	e, err := c.Lookup(k)
	if damage, ok := errors.AsType[*DamageError](err); ok && c.damaged != nil {
		c.damaged(damage)
	}
	return e, err
}

// lockKey locks a key among the processes of this cache, until unlock or the end
// of the process. It returns without the lock when patience ends.
//
// A lock is one byte, whose place the key says, of an empty file: nothing remains
// of it, and the open file description that has it (fcntl(2), F_OFD_SETLK) is
// this call's alone, so that it holds between goroutines, too.
func (c *Cache) lockKey(ctx context.Context, k Key, patience time.Duration) (unlock func(), err error) {
	fd, err := unix.Openat(c.dir, locksFile, unix.O_CREAT|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the code cache: %w", &os.PathError{Op: "open", Path: locksFile, Err: err})
	}
	f := os.NewFile(uintptr(fd), locksFile)
	err = lockByte(fd, unix.F_OFD_SETLK, placeOf(k))
	switch {
	case err == nil:
		return func() { f.Close() }, nil
	case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES):
		f.Close()
		return nil, fmt.Errorf("lock the code cache: %w", os.NewSyscallError("fcntl", err))
	}
	// The wait of the kernel cannot be called off. What it waits for ends with a
	// compilation, and those have limits.
	locked := make(chan error, 1)
	go func() { locked <- lockByte(fd, unix.F_OFD_SETLKW, placeOf(k)) }()
	leave := func() {
		go func() {
			<-locked
			f.Close()
		}()
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-locked:
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock the code cache: %w", os.NewSyscallError("fcntl", err))
		}
		return func() { f.Close() }, nil
	case <-timer.C:
		leave()
		return func() {}, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

func lockByte(fd, how int, place int64) error {
	for {
		err := unix.FcntlFlock(uintptr(fd), how, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: place, Len: 1})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// placeOf is the key's byte: of 2^62, so that no two keys ever meet.
func placeOf(k Key) int64 {
	name, _ := hex.DecodeString(k.String())
	return int64(binary.BigEndian.Uint64(name) >> 2)
}
