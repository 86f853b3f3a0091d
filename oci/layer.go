package oci

import (
	"crypto/sha256"
	"errors"
	"os"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Layer is a module that is a layer of the container's image.
type Layer struct {
	// File is open for reading at offset 0 and close-on-exec.
	File *os.File
	// Name is what messages call it, and argv of a container without args.
	Name string
	// Digest is the file's.
	Digest [sha256.Size]byte
	// Reading is the index of the reading of args[0] that means it.
	Reading int
}

// FindLayer returns the layer that one of the readings of args[0] means: it may
// be a name, or a name with an export behind a "#". Without readings it is the
// only one. wanted tells that something says that args[0] is Wasm; without it, an
// image that has a root file system has no layer that is not called by its name.
//
// nil without an error is that there is none. Errors are *control.Error.
type FindLayer func(readings []string, wanted bool) (*Layer, error)

// fromLayer returns nil without an error when no layer is meant.
func (l lookup) fromLayer(cands []candidate, wanted bool) (*Target, error) {
	if l.layer == nil {
		return nil, nil
	}
	var readings []string
	for _, c := range cands {
		readings = append(readings, c.path)
	}
	found, err := l.layer(readings, wanted)
	if found == nil {
		return nil, err
	}
	st, err := found.File.Stat()
	if err != nil {
		found.File.Close()
		return nil, control.Errorf(control.Internal, "read %s: %w", show(found.Name), err)
	}
	format, err := sniffAt(found.File)
	if err != nil {
		found.File.Close()
		return nil, control.Errorf(control.Internal, "read %s: %w", show(found.Name), err)
	}
	c := candidate{path: found.Name}
	if len(cands) > 0 {
		c = cands[found.Reading]
	}
	target, err := newTarget(l.process, c, &file{File: found.File, name: found.Name, size: st.Size(), format: format})
	if err != nil {
		return nil, err
	}
	target.Digest = &found.Digest
	return target, nil
}

// withoutArgs finds the module of a container that has no args.
func (l lookup) withoutArgs() (*Target, error) {
	file, err := l.onlyModule()
	if err == nil {
		return newTarget(l.process, candidate{path: file.name}, file)
	}
	if e, ok := errors.AsType[*control.Error](err); ok && e.Class == control.NotFound {
		if target, err := l.fromLayer(nil, true); target != nil || err != nil {
			return target, err
		}
	}
	return nil, err
}
