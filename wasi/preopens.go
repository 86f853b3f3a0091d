package wasi

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/preview1"
)

// addPreopens gives the guest its directories.
//
// A "." beside a "/" is the working directory of a container. wasi-libc, and
// with it Rust, cannot tell the two apart: it takes the leading slash off every
// path, and what then begins with the name of no directory goes to the one that
// came last. So "." comes after "/", for relative paths, and after it every
// directory in "/" under its own name, for absolute ones. What remains wrong is
// an absolute path of a file in "/" itself, and a relative one that begins with
// the name of a directory in "/".
func (h *Host) addPreopens(preopens []Preopen) error {
	var root *descriptor.Descriptor
	var rootHost string
	relative := false
	for _, p := range preopens {
		var err error
		switch {
		case p.Guest == "." && root != nil && path.IsAbs(p.Host) && rootHost == "/":
			relative = true
			err = h.addWithin(root, p.Host[1:], p.Guest)
		default:
			var d *descriptor.Descriptor
			if d, err = h.addTree(p); p.Guest == "/" {
				root, rootHost = d, p.Host
			}
		}
		if err != nil {
			return fmt.Errorf("directory %s for the guest's %s: %w", p.Host, p.Guest, err)
		}
	}
	if relative {
		h.addTopLevel(root, rootHost)
	}
	return nil
}

// addTree adds a directory that is a tree of its own.
func (h *Host) addTree(p Preopen) (*descriptor.Descriptor, error) {
	tree, err := descriptor.OpenTree(p.Host, p.Guest == "/", p.ReadOnly)
	if err != nil {
		return nil, err
	}
	h.trees = append(h.trees, tree)
	d, e := h.table.AddTree(tree, p.Guest)
	if e != 0 {
		return nil, e
	}
	h.grant(d)
	return d, nil
}

// addWithin adds a directory of another's tree, in which links lead where they
// lead for everybody in that tree.
func (h *Host) addWithin(root *descriptor.Descriptor, name, guest string) error {
	var p kernel.Path
	if e := p.Set([]byte(name)); e != 0 {
		return e
	}
	d, _, e := h.table.Open(root, &p, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if e != 0 {
		return e
	}
	d.Preopen = guest
	h.grant(d)
	return nil
}

// Bounds of addTopLevel; Linux images have about twenty directories there, and
// hostile ones a million.
const (
	maxTopLevel = 64
	maxEntries  = 1024
)

// addTopLevel adds the directories in the guest's root. One that cannot be
// opened is left out: the guest could not open it either.
func (h *Host) addTopLevel(root *descriptor.Descriptor, host string) {
	f, err := os.Open(host)
	if err != nil {
		return
	}
	defer f.Close()
	entries, _ := f.ReadDir(maxEntries)
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	added := 0
	for _, e := range entries {
		if added == maxTopLevel || !e.IsDir() && e.Type()&os.ModeSymlink == 0 {
			continue
		}
		if h.addWithin(root, e.Name(), "/"+e.Name()) == nil {
			added++
		}
	}
}

func (h *Host) grant(d *descriptor.Descriptor) {
	preview1.Grant(d)
	h.preopens++
}
