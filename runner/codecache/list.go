package codecache

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Info describes an entry to people.
type Info struct {
	// Name is that of the entry, Key.String.
	Name string
	// Key is what its code is of; the zero Key when the entry does not tell.
	Key Key
	// Created is when it was compiled, Used when it was used last, as exact as a
	// minute.
	Created, Used time.Time
	// Size is that of all its files, in bytes.
	Size int64
	// InUse: a process is loading it at this moment, and it cannot be removed.
	InUse bool
	// Damage is what is wrong with it; empty if nothing was found. Without Verify
	// the code has not been read.
	Damage string
}

// List describes all entries, the least recently used first. It changes nothing,
// and waits for nobody who loads one.
func (c *Cache) List() ([]Info, error) { return c.each(c.describe) }

// Verify is List that also compares the code with its checksums. It leaves
// damaged entries where they are: the next Lookup removes them, and so does
// Remove.
func (c *Cache) Verify() ([]Info, error) {
	return c.each(func(fd int, i *Info) error {
		err := c.describe(fd, i)
		if err != nil || i.Damage != "" {
			return err
		}
		e, err := c.verify(fd, i.Key)
		if err == nil {
			return e.code.Close()
		}
		return i.blame(err)
	})
}

// Strays lists what is in the root and has no business there. It is never
// removed: the root may be the wrong directory.
func (c *Cache) Strays() ([]string, error) {
	names, err := namesIn(c.dir)
	if err != nil {
		return nil, fmt.Errorf("list the code cache %s: %w", c.root, err)
	}
	var strays []string
	for _, name := range names {
		known := isHash(name) || name == locksFile ||
			strings.HasPrefix(name, draftPrefix) || strings.HasPrefix(name, deadPrefix)
		if !known {
			strays = append(strays, name)
		}
	}
	return strays, nil
}

// Remove removes an entry as List described it. It reports false when a process
// is loading the entry, or has used it since.
func (c *Cache) Remove(i Info) (bool, error) {
	if !isHash(i.Name) {
		return false, fmt.Errorf("remove from the code cache: %q is no entry's name", i.Name)
	}
	removed, err := c.evict(i.Name, func(fd int) bool {
		var st unix.Stat_t
		return unix.Fstat(fd, &st) == nil && st.Mtim.Nano() == i.Used.UnixNano()
	})
	if err != nil {
		err = fmt.Errorf("remove %s from the code cache: %w", i.Name, err)
	}
	return removed, err
}

// each describes all entries by a function of their open directories.
func (c *Cache) each(describe func(fd int, i *Info) error) ([]Info, error) {
	entries, err := c.entries()
	if err != nil {
		return nil, fmt.Errorf("list the code cache %s: %w", c.root, err)
	}
	var list []Info
	for _, e := range entries {
		i := Info{Name: e.name, Used: time.Unix(0, e.last), Size: e.size}
		there, err := c.inspect(&i, describe)
		if err != nil {
			return nil, fmt.Errorf("list the code cache %s: %s: %w", c.root, e.name, err)
		}
		if there {
			list = append(list, i)
		}
	}
	return list, nil
}

// inspect describes one entry, locked against its removal. It reports false when
// the entry has gone meanwhile.
func (c *Cache) inspect(i *Info, describe func(fd int, i *Info) error) (there bool, err error) {
	fd, err := openDir(c.dir, i.Name)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return true, i.blame(err)
	}
	defer unix.Close(fd)
	// Who looks it up at this moment waits for as long as the two calls take.
	switch err := flock(fd, unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		i.InUse = true
	case err != nil:
		return false, err
	}
	if there, err := c.lockShared(fd, i.Name); err != nil || !there {
		return false, err
	}
	return true, describe(fd, i)
}

// describe reads what an entry says of itself.
func (c *Cache) describe(fd int, i *Info) error {
	if err := c.expectDir(fd, "the entry"); err != nil {
		return i.blame(err)
	}
	m, err := c.readMeta(fd)
	if err != nil {
		return i.blame(err)
	}
	if k := m.key(); k.String() != i.Name {
		i.Damage = "meta.json is about another module, engine, build or CPU"
	} else {
		i.Key, i.Created = k, m.Created
	}
	return nil
}

// blame notes a fault of the entry; other errors it returns.
func (i *Info) blame(err error) error {
	if !blamesEntry(err) {
		return err
	}
	i.Damage = err.Error()
	return nil
}
