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
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDir(filepath.Dir(p))
	}
	tmp := p + temporary
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return readOnly(err)
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
		return readOnly(err)
	}
	return syncDir(filepath.Dir(p))
}

func writeSynced(path string, c *content) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(c.Text)
	return errors.Join(err, f.Chown(c.UID, c.GID), f.Chmod(c.Mode), f.Sync(), f.Close())
}

// readOnly says what can be done about a file system that takes no changes.
func readOnly(err error) error {
	if errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w; choose writable places with --prefix and --state, or edit the node's image", err)
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
	if err == nil {
		err = os.Remove(p + temporary)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
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
	err = os.Remove(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}

func (h host) removeTree(path string) error {
	p, err := h.entry(path)
	if err != nil {
		return err
	}
	return os.RemoveAll(p)
}
