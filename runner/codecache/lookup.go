package codecache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// ErrMiss is what Lookup fails with when there is no code for the key.
var ErrMiss = errors.New("no compiled code in the cache")

// DamageError is the ErrMiss of an entry that was there and could not be used.
// It is worth a line in a log: disks and intruders make such entries.
type DamageError struct {
	Key    string
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("removed damaged entry %s from the code cache: %s", e.Key, e.Reason)
}

// Is makes a DamageError an ErrMiss.
func (e *DamageError) Is(target error) bool { return target == ErrMiss }

// touchEvery is how exact the time of last use is: exact enough to evict by, and
// one write a minute costs a busy node nothing.
const touchEvery = time.Minute

// Lookup finds the code of a key and verifies all of it: owners, modes, names,
// sizes and checksums. It fails with ErrMiss when there is none, and with a
// *DamageError, which is an ErrMiss too, after it has removed one that is damaged
// or foreign. Other errors say nothing about the entry.
func (c *Cache) Lookup(k Key) (*Entry, error) {
	name := k.String()
	for range maxAttempts {
		fd, err := openDir(c.dir, name)
		if errors.Is(err, unix.ENOENT) {
			return nil, ErrMiss
		}
		if err != nil {
			return nil, c.judge(name, -1, err)
		}
		there, err := c.lockShared(fd, name)
		if err != nil || !there {
			unix.Close(fd)
			if err != nil {
				return nil, fmt.Errorf("look up compiled code %s: %w", name, err)
			}
			continue // evicted, and perhaps there again
		}
		e, err := c.verify(fd, k)
		if err != nil {
			defer unix.Close(fd)
			return nil, c.judge(name, fd, err)
		}
		c.touch(fd, name)
		e.lock = os.NewFile(uintptr(fd), name)
		return e, nil
	}
	return nil, fmt.Errorf("look up compiled code %s: it comes and goes", name)
}

// judge removes the entry that fd refers to, or with -1 whatever has the name, if
// it is to blame for the error.
func (c *Cache) judge(name string, fd int, err error) error {
	if !blamesEntry(err) {
		return fmt.Errorf("look up compiled code %s: %w", name, err)
	}
	if err := c.discard(name, fd); err != nil {
		return fmt.Errorf("remove damaged compiled code %s: %w", name, err)
	}
	return &DamageError{Key: name, Reason: err.Error()}
}

// damage is a fault of an entry.
type damage string

func (d damage) Error() string { return string(d) }

func damaged(format string, args ...any) error { return damage(fmt.Sprintf(format, args...)) }

// blamesEntry tells a fault of the entry, for which it is removed, from one of
// the process or the machine, such as EMFILE.
func blamesEntry(err error) bool {
	if _, ok := errors.AsType[damage](err); ok {
		return true
	}
	for _, e := range []error{unix.ENOENT, unix.ELOOP, unix.ENOTDIR, unix.ENXIO, unix.EISDIR, unix.EIO, unix.EUCLEAN, io.ErrShortBuffer} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// verify checks the entry that fd refers to.
func (c *Cache) verify(fd int, k Key) (*Entry, error) {
	if err := c.expectDir(fd, "the entry"); err != nil {
		return nil, err
	}
	if err := expectNames(fd, "the entry", "code", "meta.json"); err != nil {
		return nil, err
	}
	m, err := c.readMeta(fd)
	if err != nil {
		return nil, err
	}
	if !m.is(k) {
		return nil, damaged("meta.json is about another module, engine, build or CPU")
	}
	code, err := openDir(fd, "code")
	if err != nil {
		return nil, err
	}
	if err := c.verifyCode(code, m); err != nil {
		unix.Close(code)
		return nil, err
	}
	return newEntry(code, m), nil
}

func (c *Cache) readMeta(dirfd int) (*meta, error) {
	fd, err := openFile(dirfd, "meta.json")
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	size, err := c.expectFile(fd, "meta.json")
	if err != nil {
		return nil, err
	}
	if size > maxMeta {
		return nil, damaged("meta.json has %d bytes", size)
	}
	b, err := readSmall(fd, int(size))
	if err != nil {
		return nil, fmt.Errorf("read meta.json: %w", err)
	}
	m, err := parseMeta(b)
	if err != nil {
		return nil, damaged("meta.json: %v", err)
	}
	return m, nil
}

// verifyCode compares the directory code with what m says of it.
func (c *Cache) verifyCode(code int, m *meta) error {
	if err := c.expectDir(code, "code"); err != nil {
		return err
	}
	if err := expectNames(code, "code", m.Dir); err != nil {
		return err
	}
	dir, err := openDir(code, m.Dir)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := c.expectDir(dir, m.Dir); err != nil {
		return err
	}
	var names []string
	for _, f := range m.Files {
		names = append(names, f.Name)
	}
	if err := expectNames(dir, m.Dir, names...); err != nil {
		return err
	}
	for _, f := range m.Files {
		if err := c.verifyFile(dir, f); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) verifyFile(dirfd int, f metaFile) error {
	fd, err := openFile(dirfd, f.Name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	size, err := c.expectFile(fd, f.Name)
	if err != nil {
		return err
	}
	if size != f.Size {
		return damaged("%s has %d bytes instead of %d", f.Name, size, f.Size)
	}
	sum, read, err := checksum(fd, size)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Name, err)
	}
	if sum != f.CRC32C || read != f.Size {
		return damaged("%s has the checksum %08x instead of %08x", f.Name, sum, f.CRC32C)
	}
	return nil
}

// Modes of an entry: everybody may read it, since the runners of all users get
// it, and the root keeps others from finding it.
const (
	dirMode  = 0o755
	fileMode = 0o444
)

func (c *Cache) expectDir(fd int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if int(st.Uid) != c.uid || st.Mode != unix.S_IFDIR|dirMode {
		return damaged("%s belongs to uid %d and has mode %o", name, st.Uid, st.Mode)
	}
	return nil
}

func (c *Cache) expectFile(fd int, name string) (size int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	if int(st.Uid) != c.uid || st.Mode != unix.S_IFREG|fileMode || st.Nlink != 1 {
		return 0, damaged("%s belongs to uid %d, has mode %o and %d links", name, st.Uid, st.Mode, st.Nlink)
	}
	return st.Size, nil
}

// expectNames fails unless the directory holds exactly the names, which are sorted.
func expectNames(fd int, name string, want ...string) error {
	have, err := namesIn(fd)
	if err != nil {
		return err
	}
	if !slices.Equal(have, want) {
		return damaged("%s holds %q instead of %q", name, have, want)
	}
	return nil
}

// touch marks an entry as used. An error, such as a full disk, only makes it
// look older.
func (c *Cache) touch(fd int, name string) {
	var st unix.Stat_t
	// In both directions: a clock may jump.
	if err := unix.Fstat(fd, &st); err == nil && time.Since(time.Unix(st.Mtim.Unix())).Abs() > touchEvery {
		now := unix.NsecToTimespec(time.Now().UnixNano())
		_ = unix.UtimesNanoAt(c.dir, name, []unix.Timespec{now, now}, unix.AT_SYMLINK_NOFOLLOW)
	}
}

// discard takes the entry that fd refers to out of use and removes it; with fd
// -1, whatever has the name. It leaves one alone that has replaced it meanwhile.
func (c *Cache) discard(name string, fd int) error {
	var judged, found unix.Stat_t
	if fd >= 0 {
		if err := unix.Fstat(fd, &judged); err != nil {
			return err
		}
	}
	// The rename is atomic: no Lookup sees half of a removal.
	dead := unique(deadPrefix)
	if err := unix.Renameat2(c.dir, name, c.dir, dead, unix.RENAME_NOREPLACE); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return &fs.PathError{Op: "rename", Path: name, Err: err}
	}
	if err := unix.Fstatat(c.dir, dead, &found, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	if fd >= 0 && (found.Ino != judged.Ino || found.Dev != judged.Dev) {
		if unix.Renameat2(c.dir, dead, c.dir, name, unix.RENAME_NOREPLACE) == nil {
			return nil
		}
	}
	return removeAll(c.dir, dead)
}
