package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// temporary is the suffix under which a file is written before it gets its name. It
// is no pattern's that containerd imports, and the next attempt uses it again, so
// that a killed one leaves no litter.
const temporary = ".new-" + marker

// target returns the place of a file that is to change: behind its symbolic link,
// unless it is one of the installer's own links.
func (h host) target(path string) (string, error) {
	p, err := h.entry(path)
	if err != nil {
		return "", err
	}
	link, err := os.Readlink(p)
	if err != nil || !filepath.IsAbs(link) && filepath.Dir(link) == versions {
		return p, nil
	}
	return h.resolve(path)
}

// content returns what is at the path, nil if nothing is.
func (h host) content(path string) (*content, error) {
	p, err := h.target(path)
	if err != nil {
		return nil, err
	}
	fi, err := os.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &content{Mode: fi.Mode().Perm()}
	c.UID, c.GID = owner(fi)
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		c.Link, err = os.Readlink(p)
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("%s is neither a file nor a link; remove it, or choose another place", path)
	default:
		c.Text, err = os.ReadFile(p)
	}
	return c, err
}

// replace makes the path be that content, or nothing, at once and durably.
func (h host) replace(path string, c *content) error {
	p, err := h.target(path)
	if err != nil {
		return err
	}
	if c == nil {
		if err := removeFile(p); err != nil {
			return cannotWrite(path, err)
		}
		return syncDir(filepath.Dir(p))
	}
	tmp := p + temporary
	if err := removeFile(tmp); err != nil {
		return cannotWrite(path, err)
	}
	if c.Link != "" {
		err = os.Symlink(c.Link, tmp)
	} else {
		err = writeSynced(tmp, c)
	}
	if err == nil {
		err = os.Rename(tmp, p)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return cannotWrite(path, err)
	}
	return syncDir(filepath.Dir(p))
}

// removeFile removes a file or an empty directory unless nothing is there, which a
// read-only file system would refuse as well.
func removeFile(p string) error {
	if _, err := os.Lstat(p); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return os.Remove(p)
}

func writeSynced(path string, c *content) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(c.Text)
	return errors.Join(err, f.Chown(c.UID, c.GID), f.Chmod(c.Mode), f.Sync(), f.Close())
}

// cannotWrite says what can be done about a file system that takes no changes, by the
// host's name of what was to change.
func cannotWrite(path string, err error) error {
	if errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%s cannot change: %w; choose writable places with --prefix and --state, or build the shim into the node's image", path, syscall.EROFS)
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// removeTemporary removes what a killed replace has left.
func (h host) removeTemporary(path string) error {
	p, err := h.target(path)
	if err != nil {
		return err
	}
	return removeFile(p + temporary)
}

// makeDir makes a directory unless it is there.
func (h host) makeDir(path string) error {
	p, err := h.resolve(path)
	if err != nil {
		return err
	}
	if err := os.Mkdir(p, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return cannotWrite(path, err)
	}
	return nil
}

// removeEmpty removes a directory unless something is in it.
func (h host) removeEmpty(path string) error {
	p, err := h.entry(path)
	if err != nil {
		return err
	}
	// A killed attempt's temporary files are nobody's any more.
	if litter, err := filepath.Glob(filepath.Join(p, "*"+temporary)); err == nil {
		for _, l := range litter {
			_ = os.Remove(l)
		}
	}
	if err := removeFile(p); !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

func (h host) removeTree(path string) error {
	p, err := h.entry(path)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(p); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return os.RemoveAll(p)
}
