package codecache

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Draft is an entry in the making. Its directory is locked until it is committed
// or discarded, or its process dies.
type Draft struct {
	cache *Cache
	key   Key
	name  string // below the root

	mu  sync.Mutex
	dir *os.File // locked; nil after Commit or Discard. Guarded by mu.
}

// maxAttempts bounds races with other processes of the same cache.
const maxAttempts = 100

// Begin makes a draft for the code of a key. Either Commit or Discard ends it.
func (c *Cache) Begin(k Key) (*Draft, error) {
	for range maxAttempts {
		d, err := c.begin(k)
		if !errors.Is(err, unix.ENOENT) {
			if err != nil {
				return nil, fmt.Errorf("begin compiled code: %w", err)
			}
			return d, nil
		}
		// A sweep came between mkdir and flock, and removed the draft.
	}
	return nil, errors.New("begin compiled code: drafts are being removed")
}

func (c *Cache) begin(k Key) (*Draft, error) {
	name := unique(draftPrefix)
	if err := unix.Mkdirat(c.dir, name, 0o700); err != nil {
		return nil, os.NewSyscallError("mkdirat", err)
	}
	fd, err := openDir(c.dir, name)
	if err != nil {
		return nil, err
	}
	d := &Draft{cache: c, key: k, name: name, dir: os.NewFile(uintptr(fd), name)}
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		d.dir.Close()
		return nil, os.NewSyscallError("flock", err)
	}
	// ENOENT when the directory is not there any more.
	if err := unix.Mkdirat(fd, "code", 0o700); err != nil {
		d.dir.Close()
		return nil, os.NewSyscallError("mkdirat", err)
	}
	return d, nil
}

// Dir is the directory into which the engine is told to write: its cache
// directory. Nobody but the owner of the cache can reach it.
func (d *Draft) Dir() string { return filepath.Join(d.cache.root, d.name, "code") }

// GiveTo lets a user write into Dir, who needs a mount of it to get there.
// Commit takes everything back.
func (d *Draft) GiveTo(uid int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir == nil {
		return errors.New("give away a draft of compiled code: it has ended")
	}
	if err := unix.Fchownat(int(d.dir.Fd()), "code", uid, -1, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("give away a draft of compiled code: %w", os.NewSyscallError("fchownat", err))
	}
	return nil
}

// TempFile makes a file without a name on the cache's file system.
func (d *Draft) TempFile() (*os.File, error) {
	fd, err := unix.Openat(d.cache.dir, d.name, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "make a temporary file", Path: filepath.Join(d.cache.root, d.name), Err: err}
	}
	return os.NewFile(uintptr(fd), "temporary file"), nil
}

// TempDir makes an empty directory, once, that ends with the draft.
func (d *Draft) TempDir() (string, error) {
	path := filepath.Join(d.cache.root, d.name, tempDir)
	return path, os.Mkdir(path, 0o700)
}

const tempDir = "tmp"

// Discard removes the draft. After Commit or Discard it does nothing.
func (d *Draft) Discard() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir == nil {
		return nil
	}
	defer d.end()
	if err := removeAll(d.cache.dir, d.name); err != nil {
		return fmt.Errorf("discard compiled code: %w", err)
	}
	return nil
}

// end releases the lock.
func (d *Draft) end() {
	d.dir.Close()
	d.dir = nil
}

// Commit makes the draft the entry of its key. Whoever wrote into it must have
// ended. When another process was faster, the result is that one's entry; when
// there is no room in the cache, it is an entry that ends with its Close. It
// fails when the draft holds anything else than files of compiled code; the draft
// is gone in any case.
func (d *Draft) Commit() (*Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir == nil {
		return nil, errors.New("commit compiled code: the draft has ended")
	}
	e, err := d.commit()
	if err != nil {
		_ = removeAll(d.cache.dir, d.name) // or Open sweeps it
		d.end()
		return nil, fmt.Errorf("commit compiled code: %w", err)
	}
	return e, nil
}

func (d *Draft) commit() (*Entry, error) {
	fd := int(d.dir.Fd())
	if err := removeAll(fd, tempDir); err != nil {
		return nil, err
	}
	code, err := openDir(fd, "code")
	if err != nil {
		return nil, err
	}
	m, err := d.seal(code)
	if err != nil {
		unix.Close(code)
		return nil, err
	}
	e := newEntry(code, m)
	if err := d.writeMeta(fd, m); err != nil {
		e.Close()
		return nil, err
	}
	if err := d.sealDir(fd); err != nil {
		e.Close()
		return nil, err
	}
	kept, winner, err := d.publish(sizeOf(d.cache.dir, d.name))
	switch {
	case err != nil:
		e.Close()
		return nil, err
	case winner != nil:
		e.Close()
		defer d.end()
		return winner, removeAll(d.cache.dir, d.name)
	case !kept:
		if err := d.lend(e); err != nil {
			e.Close()
			return nil, err
		}
		return e, nil
	}
	e.lock, d.dir = d.dir, nil
	return e, nil
}

// publish gives the draft the name of its key, if there is room for so many
// bytes. When another process was faster it returns that one's entry.
func (d *Draft) publish(size int64) (kept bool, winner *Entry, err error) {
	lock, err := d.cache.lockRoot()
	if err != nil {
		return false, nil, err
	}
	defer lock.Close()
	if room, err := d.cache.makeRoom(size); err != nil || !room {
		return false, nil, err
	}
	name := d.key.String()
	for range maxAttempts {
		err = unix.Renameat2(d.cache.dir, d.name, d.cache.dir, name, unix.RENAME_NOREPLACE)
		if err == nil {
			// Others may use it, too. Nobody evicts before the root is unlocked.
			if err := flock(int(d.dir.Fd()), unix.LOCK_SH); err != nil {
				return false, nil, err
			}
			// Without this a crash may lose the entry, never damage it.
			return true, nil, os.NewSyscallError("fsync", unix.Fsync(d.cache.dir))
		}
		if !errors.Is(err, unix.EEXIST) {
			break
		}
		winner, lookupErr := d.cache.Lookup(d.key)
		if lookupErr == nil {
			return false, winner, nil
		}
		if !errors.Is(lookupErr, ErrMiss) {
			err = lookupErr
			break
		}
		// What was there was damaged, and is gone.
	}
	return false, nil, os.NewSyscallError("rename", err)
}

// lend lets the entry be used from the draft, which stays locked, and which the
// entry's Close removes.
func (d *Draft) lend(e *Entry) error {
	root, err := openDir(d.cache.dir, ".") // the cache may be closed before
	if err != nil {
		return err
	}
	name := d.name
	e.discard = func() error {
		defer unix.Close(root)
		return removeAll(root, name)
	}
	e.lock, d.dir = d.dir, nil
	return nil
}

// seal checks what the engine wrote, gives it its final owner and modes, puts it
// on the disk, and describes it.
func (d *Draft) seal(code int) (*meta, error) {
	names, err := namesIn(code)
	if err != nil {
		return nil, err
	}
	if len(names) != 1 || !isDirName(names[0]) {
		return nil, fmt.Errorf("the engine left %q instead of one directory of its own", names)
	}
	dir, err := openDir(code, names[0])
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	files, err := namesIn(dir)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 || len(files) > maxFiles {
		return nil, fmt.Errorf("the engine left %d files; 1 to %d are expected", len(files), maxFiles)
	}
	described := make([]metaFile, 0, len(files))
	var total int64
	for _, name := range files {
		f, err := d.sealFile(dir, name, maxSize-total)
		if err != nil {
			return nil, err
		}
		total += f.Size
		described = append(described, f)
	}
	if err := d.sealDir(dir); err != nil {
		return nil, err
	}
	if err := d.sealDir(code); err != nil {
		return nil, err
	}
	m := metaOf(d.key, names[0], described, time.Now())
	return &m, nil
}

func (d *Draft) sealFile(dirfd int, name string, limit int64) (metaFile, error) {
	f := metaFile{Name: name}
	if !isHash(name) {
		return f, fmt.Errorf("the engine left %q, which is no name of compiled code", name)
	}
	fd, err := openFile(dirfd, name)
	if err != nil {
		return f, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return f, os.NewSyscallError("fstat", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1:
		return f, fmt.Errorf("the engine left %s with mode %o and %d links instead of a file", name, st.Mode, st.Nlink)
	case st.Size < 1 || st.Size > limit:
		return f, fmt.Errorf("the engine left %s with %d bytes; 1 to %d are expected", name, st.Size, limit)
	}
	if err := d.own(fd, fileMode); err != nil {
		return f, err
	}
	if f.CRC32C, f.Size, err = checksum(fd, st.Size); err != nil {
		return f, fmt.Errorf("read %s: %w", name, err)
	}
	if f.Size != st.Size {
		return f, fmt.Errorf("%s is still being written", name)
	}
	return f, os.NewSyscallError("fsync", unix.Fsync(fd))
}

func (d *Draft) sealDir(fd int) error {
	if err := d.own(fd, dirMode); err != nil {
		return err
	}
	return os.NewSyscallError("fsync", unix.Fsync(fd))
}

// own gives a file to the owner of the cache: the engine may have run as a user
// without rights.
func (d *Draft) own(fd int, mode uint32) error {
	if err := unix.Fchown(fd, d.cache.uid, -1); err != nil {
		return os.NewSyscallError("fchown", err)
	}
	return os.NewSyscallError("fchmod", unix.Fchmod(fd, mode))
}

func (d *Draft) writeMeta(dirfd int, m *meta) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if _, err := parseMeta(b); err != nil {
		return fmt.Errorf("meta.json: %w", err) // an entry that nobody would accept
	}
	fd, err := unix.Openat(dirfd, "meta.json", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: "meta.json", Err: err}
	}
	f := os.NewFile(uintptr(fd), "meta.json")
	defer f.Close()
	if _, err := f.Write(append(b, '\n')); err != nil {
		return err
	}
	if err := d.own(fd, fileMode); err != nil {
		return err
	}
	return f.Sync()
}
