package codecache

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// An entry in use is locked: shared by everybody who has an Entry of it,
// exclusively by who evicts it. A runner's mount of an entry would survive its
// removal, but the files in it would not.

// lockRoot keeps other processes and goroutines from committing until the lock
// is closed. So the cache is never above its limit, and two that evict at a time
// do not both make the same room.
func (c *Cache) lockRoot() (*os.File, error) {
	// flock(2) belongs to the open file description: each lock needs one.
	fd, err := openDir(c.dir, ".")
	if err != nil {
		return nil, err
	}
	if err := flock(fd, unix.LOCK_EX); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "root"), nil
}

func flock(fd, how int) error {
	for {
		err := unix.Flock(fd, how)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}

// lockShared locks the entry that fd refers to against eviction. It reports
// whether the entry still has its name.
func (c *Cache) lockShared(fd int, name string) (there bool, err error) {
	if err := flock(fd, unix.LOCK_SH); err != nil {
		return false, err
	}
	var locked, named unix.Stat_t
	if err := unix.Fstat(fd, &locked); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	switch err := unix.Fstatat(c.dir, name, &named, unix.AT_SYMLINK_NOFOLLOW); {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, os.NewSyscallError("fstatat", err)
	}
	return locked.Dev == named.Dev && locked.Ino == named.Ino, nil
}

// used is an entry in the order of eviction.
type used struct {
	name string
	// last is when it was used last, as exact as touchEvery, in ns.
	last int64
	size int64
}

// makeRoom evicts the least recently used entries that nobody uses until there
// is room for so many bytes. It reports whether there is.
func (c *Cache) makeRoom(bytes int64) (bool, error) {
	if c.limit <= 0 {
		return true, nil
	}
	if bytes > c.limit {
		return false, nil
	}
	entries, err := c.entries()
	if err != nil {
		return false, fmt.Errorf("make room in the code cache: %w", err)
	}
	free := c.limit - bytes
	for _, e := range entries {
		free -= e.size
	}
	for _, e := range entries {
		if free >= 0 {
			break
		}
		evicted, err := c.evict(e.name, nil)
		if err != nil {
			return false, fmt.Errorf("evict %s from the code cache: %w", e.name, err)
		}
		if evicted {
			free += e.size
		}
	}
	return free >= 0, nil
}

// entries lists all of them, the least recently used first.
func (c *Cache) entries() ([]used, error) {
	names, err := namesIn(c.dir)
	if err != nil {
		return nil, err
	}
	var list []used
	for _, name := range names {
		if !isHash(name) {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstatat(c.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			continue // removed meanwhile
		}
		list = append(list, used{name: name, last: st.Mtim.Nano(), size: sizeOf(c.dir, name)})
	}
	slices.SortFunc(list, func(a, b used) int { return cmp.Compare(a.last, b.last) })
	return list, nil
}

// sizeOf returns the bytes of all files in a directory, whatever is in it.
func sizeOf(dirfd int, name string) (sum int64) {
	fd, err := openDir(dirfd, name)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	names, _ := namesIn(fd)
	for _, n := range names {
		var st unix.Stat_t
		switch err := unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW); {
		case err != nil:
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			sum += sizeOf(fd, n)
		default:
			sum += st.Size
		}
	}
	return sum
}

// evict removes an entry unless somebody uses it, or agree, if there is one, says
// no to the entry behind the descriptor: from then on nobody can use it.
func (c *Cache) evict(name string, agree func(fd int) bool) (bool, error) {
	fd, err := openDir(c.dir, name)
	if errors.Is(err, unix.ENOENT) {
		return true, nil
	}
	if err != nil {
		// What is no directory is in nobody's use.
		return true, c.discard(name, -1)
	}
	defer unix.Close(fd)
	switch err := flock(fd, unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return false, err
	case agree != nil && !agree(fd):
		return false, nil
	}
	return true, c.discard(name, fd)
}
