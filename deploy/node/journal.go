package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// change is one step of a transaction and how to undo it. Each is in the journal
// before it happens, so what it says may not have happened yet.
type change struct {
	// Kind is one of the constants below, Path the host's path that it is about.
	Kind, Path string
	// Old is what was at Path before a changeFile: nil if nothing was. New is the
	// text that it gets; nil if it is removed.
	Old *content `json:",omitempty"`
	New *content `json:",omitempty"`
}

// content is a regular file or a symbolic link.
type content struct {
	Text     []byte      `json:",omitempty"`
	Link     string      `json:",omitempty"`
	Mode     fs.FileMode `json:",omitempty"`
	UID, GID int         `json:",omitempty"`
}

const (
	changeDir     = "directory"    // made, empty
	changeNoDir   = "no directory" // removed, if it was empty
	changeTree    = "tree"         // made, with all that is in it
	changeFile    = "file"
	changeRestart = "restart" // of containerd
)

// transaction changes the host step by step so that it can be undone, by this
// process or by the next one.
type transaction struct {
	host    host
	journal string // the host's path
	changes []change
	step    func(string)
}

// begin starts a transaction whose journal lies in the directory.
func begin(h host, dir string, step func(string)) *transaction {
	return &transaction{host: h, journal: filepath.Join(dir, "journal.json"), step: step}
}

// load returns the transaction that a killed process has left, or nil.
func load(h host, dir string, step func(string)) (*transaction, error) {
	t := begin(h, dir, step)
	text, ok, err := h.readFile(t.journal)
	if err != nil || !ok {
		return nil, err
	}
	if err := json.Unmarshal([]byte(text), &t.changes); err != nil {
		return nil, fmt.Errorf("%s, which says how to undo what was begun, cannot be read: %w; compare containerd's configuration with its backup and remove the file", t.journal, err)
	}
	return t, nil
}

// note writes the change to the journal, and calls step before it happens.
func (t *transaction) note(c change) error {
	t.changes = append(t.changes, c)
	b, err := json.MarshalIndent(t.changes, "", " ")
	if err != nil {
		return err
	}
	if err := t.host.replace(t.journal, &content{Text: b, Mode: 0o600}); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	t.step(c.Kind + " " + c.Path)
	return nil
}

// mkdir makes a directory and those above it that lack.
func (t *transaction) mkdir(path string) error {
	if t.host.exists(path) {
		return nil
	}
	if err := t.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := t.note(change{Kind: changeDir, Path: path}); err != nil {
		return err
	}
	return t.host.makeDir(path)
}

// rmdir removes a directory unless something is in it.
func (t *transaction) rmdir(path string) error {
	if err := t.note(change{Kind: changeNoDir, Path: path}); err != nil {
		return err
	}
	return t.host.removeEmpty(path)
}

// write gives a file its new text, owner and mode kept.
func (t *transaction) write(path, text string) error {
	old, err := t.host.content(path)
	if err != nil {
		return err
	}
	c := &content{Text: []byte(text), Mode: 0o644}
	if old != nil {
		c.Mode, c.UID, c.GID = old.Mode, old.UID, old.GID
	}
	return t.change(path, old, c)
}

// link points a symbolic link to the target.
func (t *transaction) link(path, target string) error {
	old, err := t.host.content(path)
	if err != nil {
		return err
	}
	return t.change(path, old, &content{Link: target})
}

func (t *transaction) remove(path string) error {
	old, err := t.host.content(path)
	if err != nil || old == nil {
		return err
	}
	return t.change(path, old, nil)
}

func (t *transaction) change(path string, old, new *content) error {
	if err := t.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := t.note(change{Kind: changeFile, Path: path, Old: old, New: new}); err != nil {
		return err
	}
	return t.host.replace(path, new)
}

// commit ends the transaction: what it did stays.
func (t *transaction) commit() error {
	t.step("commit")
	return t.end()
}

func (t *transaction) end() error {
	p, err := t.host.entry(t.journal)
	if err != nil {
		return err
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(p))
}

// undo takes everything back, last step first, and calls restart if containerd may
// have seen any of it. What others have changed since stays and is told. The journal
// goes only when all is done, so that the next run can go on.
func (t *transaction) undo(restart func() error, log func(string, ...any)) error {
	var restarts bool
	for _, c := range slices.Backward(t.changes) {
		t.step("undo " + c.Kind + " " + c.Path)
		err := t.host.removeTemporary(c.Path)
		switch {
		case err != nil:
		case c.Kind == changeRestart:
			restarts = true
		case c.Kind == changeDir:
			err = t.host.removeEmpty(c.Path)
		case c.Kind == changeNoDir:
			err = t.host.makeDir(c.Path)
		case c.Kind == changeTree:
			err = t.host.removeTree(c.Path)
		case c.Kind == changeFile:
			var now *content
			if now, err = t.host.content(c.Path); err == nil {
				switch {
				case now.same(c.New):
					err = t.host.replace(c.Path, c.Old)
				case !now.same(c.Old):
					log("%s was changed by somebody else meanwhile and stays as it is", c.Path)
				}
			}
		}
		if err != nil {
			return fmt.Errorf("undo the change of %s: %w; mend that and run the installer again", c.Path, err)
		}
	}
	if restarts {
		if err := restart(); err != nil {
			return fmt.Errorf("restart containerd on its old configuration: %w", err)
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	return t.host.removeEmpty(filepath.Dir(t.journal))
}

func (c *content) same(d *content) bool {
	if c == nil || d == nil {
		return c == d
	}
	return string(c.Text) == string(d.Text) && c.Link == d.Link
}

// owner returns that of what Lstat found.
func owner(fi os.FileInfo) (uid, gid int) {
	st := fi.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid)
}
