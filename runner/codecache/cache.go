package codecache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Names in the root that are not entries.
const (
	draftPrefix = ".draft-" // locked with flock(2) by its maker
	deadPrefix  = ".dead-"  // taken out of use and about to be removed
	locksFile   = ".locks"  // what LookupOrMake locks, empty
)

// Cache is the directory. It may be used by several goroutines and, by way of
// the file system, by any number of processes.
//
// Every access goes through the descriptor that Open has checked, so that the
// root cannot be exchanged afterwards.
type Cache struct {
	root string
	dir  int // descriptor of root, until Close
	uid  int // owner of everything, the effective user
	// limit is how many bytes all entries may have; 0 is no limit.
	limit int64
	// existing: the root is there already, as whoever made it left it.
	existing bool
	// damaged hears of damage that LookupOrMake mends.
	damaged func(*DamageError)
}

// Option is an option of Open.
type Option func(*Cache)

// WithLimit bounds the bytes of all entries together. Commit then evicts those
// that were not used for the longest time; those in use stay.
func WithLimit(bytes int64) Option { return func(c *Cache) { c.limit = bytes } }

// Existing lets Open neither make the root nor change its mode: for people, who
// may have named any directory.
func Existing() Option { return func(c *Cache) { c.existing = true } }

// WithDamageReport calls f for each damaged entry that LookupOrMake replaces.
func WithDamageReport(f func(*DamageError)) Option { return func(c *Cache) { c.damaged = f } }

// Open opens the cache at root and makes it, with mode 0700, if it is missing.
//
// It refuses, with a *control.Error of class Unavailable, a root that is a
// symlink, belongs to another user or can be written by others. One that others
// can merely read is tightened. Drafts whose makers are dead are removed.
//
// With Existing it fails with class NotFound when there is no root, and refuses
// any mode but 0700.
func Open(root string, options ...Option) (*Cache, error) {
	c := &Cache{root: filepath.Clean(root), uid: os.Geteuid()}
	for _, o := range options {
		o(c)
	}
	if !c.existing {
		if err := c.makeRoot(); err != nil {
			return nil, err
		}
	}
	fd, err := unix.Open(c.root, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil, control.Errorf(control.Unavailable,
			"the code cache %s is a symlink or no directory; remove it, or configure the path of a directory", c.root)
	case errors.Is(err, unix.ENOENT) && c.existing:
		return nil, control.Errorf(control.NotFound, "there is no code cache at %s; name another directory, or run a container first", c.root)
	case err != nil:
		return nil, fmt.Errorf("open code cache %s: %w", c.root, err)
	}
	c.dir = fd
	if err := c.checkRoot(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := c.sweep(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return c, nil
}

// Close releases the directory once no method runs any more. Entries stay usable.
func (c *Cache) Close() error { return unix.Close(c.dir) }

func (c *Cache) makeRoot() error {
	if err := os.MkdirAll(filepath.Dir(c.root), 0o755); err != nil {
		return fmt.Errorf("open code cache: %w", err)
	}
	if err := unix.Mkdir(c.root, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("open code cache: mkdir %s: %w", c.root, err)
	}
	return nil
}

func (c *Cache) checkRoot() error {
	var st unix.Stat_t
	if err := unix.Fstat(c.dir, &st); err != nil {
		return fmt.Errorf("open code cache %s: %w", c.root, err)
	}
	switch {
	case int(st.Uid) != c.uid:
		return control.Errorf(control.Unavailable,
			"the code cache %s belongs to uid %d, who could put native code into containers; it must belong to uid %d: remove it, or configure another path", c.root, st.Uid, c.uid)
	case st.Mode&0o022 != 0:
		return control.Errorf(control.Unavailable,
			"the code cache %s can be written by others (mode %04o), who could put native code into containers; remove it, or configure another path", c.root, st.Mode&0o7777)
	case st.Mode&0o7777 != 0o700 && c.existing:
		return control.Errorf(control.Unavailable, "%s has mode %04o, and a code cache has 0700; chmod it if it is one, or name another directory", c.root, st.Mode&0o7777)
	case st.Mode&0o7777 != 0o700:
		if err := unix.Fchmod(c.dir, 0o700); err != nil {
			return fmt.Errorf("open code cache %s: %w", c.root, err)
		}
	}
	return nil
}

// sweep removes what dead processes left. A draft is locked as long as its maker
// lives, however long it compiles; flock ends with the process, so that neither
// age nor a reused pid can mislead.
func (c *Cache) sweep() error {
	names, err := namesIn(c.dir)
	if err != nil {
		return fmt.Errorf("sweep code cache %s: %w", c.root, err)
	}
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, deadPrefix):
			_ = removeAll(c.dir, name) // another process may be faster
		case strings.HasPrefix(name, draftPrefix):
			c.sweepDraft(name)
		}
	}
	return nil
}

func (c *Cache) sweepDraft(name string) {
	fd, err := openDir(c.dir, name)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = removeAll(c.dir, name)
	}
}
