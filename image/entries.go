package image

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// entry is one entry of the layer's tar.
type entry struct {
	guest string // absolute path in the image, clean
	host  string // path on this machine, for regular files
	kind  byte   // tar.TypeReg, tar.TypeDir or tar.TypeSymlink
	mode  int64
	link  string // target of a symbolic link
}

// entries returns what goes into the layer, parents before children, in the
// same order for the same set of files.
func (s Spec) entries() ([]entry, error) {
	// The module is executable, though it need not be for this runtime:
	// others, and a user other than root, may look at the mode.
	all := map[string]entry{ModulePath: {guest: ModulePath, host: s.Module, kind: tar.TypeReg, mode: 0o755}}
	for _, f := range s.Files {
		if !path.IsAbs(f.Guest) || path.Clean(f.Guest) == "/" {
			return nil, fmt.Errorf("file %s: %q is not the absolute path of a file in the image", f.Host, f.Guest)
		}
		if err := addTree(all, f.Host, path.Clean(f.Guest)); err != nil {
			return nil, err
		}
	}
	names := make([]string, 0, len(all)+1)
	for name := range all {
		names = append(names, name)
	}
	for _, name := range names {
		if err := addParents(all, path.Dir(name)); err != nil {
			return nil, err
		}
	}
	if err := addParents(all, s.Workdir); err != nil {
		return nil, err
	}

	if s.Shape == Hybrid {
		delete(all, ModulePath)
	}
	sorted := make([]entry, 0, len(all))
	for _, e := range all {
		sorted = append(sorted, e)
	}
	// A parent is a proper prefix of its children and sorts before them.
	slices.SortFunc(sorted, func(a, b entry) int { return strings.Compare(a.guest, b.guest) })
	return sorted, nil
}

// addTree adds the file or directory host as guest. Owners become root and
// modes 0755 or 0644, so that the image does not depend on who builds it.
// Symbolic links below host stay links; host itself is followed.
func addTree(all map[string]entry, host, guest string) error {
	top, err := filepath.EvalSymlinks(host)
	if err != nil {
		return err
	}
	return filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		e := entry{guest: path.Join(guest, filepath.ToSlash(rel)), host: p, mode: 0o644}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			e.kind, e.mode = tar.TypeDir, 0o755
		case info.Mode().IsRegular():
			e.kind = tar.TypeReg
			if info.Mode()&0o111 != 0 {
				e.mode = 0o755
			}
		case info.Mode()&fs.ModeSymlink != 0:
			e.kind, e.mode = tar.TypeSymlink, 0o777
			if e.link, err = os.Readlink(p); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is not a file, directory or symbolic link, and cannot go into an image", p)
		}
		if other, ok := all[e.guest]; ok && (e.kind != tar.TypeDir || other.kind != tar.TypeDir) {
			return fmt.Errorf("%s is given twice: as %s and as %s", e.guest, other.host, p)
		}
		all[e.guest] = e
		return nil
	})
}

// addParents adds the directory dir and those above it, except the root.
func addParents(all map[string]entry, dir string) error {
	for ; dir != "/"; dir = path.Dir(dir) {
		e, ok := all[dir]
		if ok && e.kind != tar.TypeDir {
			return fmt.Errorf("%s is a file of the image and cannot be a directory too", dir)
		}
		if !ok {
			all[dir] = entry{guest: dir, kind: tar.TypeDir, mode: 0o755}
		}
	}
	return nil
}
