package image

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// layerSet is the layers of an image, the same for each of its platforms.
type layerSet struct {
	blobs []*blob
	// diffIDs are the digests of the tars among them.
	diffIDs []v1.Hash
	module  v1.Hash
}

// newLayers makes the layers of a shape. It refuses a module that is not a core
// module.
func newLayers(s Spec) (_ *layerSet, err error) {
	l := &layerSet{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if s.Shape != Artifact {
		if err := l.addTar(s); err != nil {
			return nil, err
		}
	}
	if s.Shape == Artifact || s.Shape == Hybrid {
		b, err := fileBlob(s.Module, wasmLayer, func(f *os.File, size int64) error { return oci.CheckModule(s.Module, f, size) })
		if err != nil {
			return nil, err
		}
		l.blobs, l.module = append(l.blobs, b), b.Digest
		// By this name tools for artifacts store it.
		b.Annotations = map[string]string{titleAnnotation: ModulePath[1:]}
	}
	return l, nil
}

// addTar adds the gzipped tar of the files, and of the module unless that is a
// layer of its own.
func (l *layerSet) addTar(s Spec) error {
	entries, err := s.entries()
	if err != nil {
		return err
	}
	plain, module := sha256.New(), sha256.New()
	b, err := fillBlob(types.OCILayer, func(w io.Writer) error {
		// The header of gzip has no time and no name here, so that equal layers
		// are equal bytes.
		zip := gzip.NewWriter(w)
		archive := tar.NewWriter(io.MultiWriter(zip, plain))
		for _, e := range entries {
			var digest hash.Hash
			if e.guest == ModulePath {
				digest = module
			}
			if err := e.write(archive, s, digest); err != nil {
				return err
			}
		}
		if err := errors.Join(archive.Close(), zip.Close()); err != nil {
			return fmt.Errorf("write the layer: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.blobs, l.diffIDs, l.module = append(l.blobs, b), append(l.diffIDs, sum(plain)), sum(module)
	return nil
}

func (l *layerSet) close() {
	for _, b := range l.blobs {
		b.close()
	}
}

// write adds the entry to the archive. What it reads goes to digest too, if
// there is one.
func (e entry) write(archive *tar.Writer, s Spec, digest hash.Hash) error {
	hdr := &tar.Header{
		Typeflag: e.kind,
		Name:     e.guest[1:],
		Linkname: e.link,
		Mode:     e.mode,
		ModTime:  s.Epoch,
	}
	if e.kind == tar.TypeDir {
		hdr.Name += "/"
	}
	if e.kind != tar.TypeReg {
		return wrap(e, archive.WriteHeader(hdr))
	}
	f, size, err := openRegular(e.host)
	if err != nil {
		return err
	}
	defer f.Close()
	if e.guest == ModulePath {
		if err := oci.CheckModule(e.host, f, size); err != nil {
			return err
		}
	}
	hdr.Size = size
	if err := archive.WriteHeader(hdr); err != nil {
		return wrap(e, err)
	}
	to := io.Writer(archive)
	if digest != nil {
		to = io.MultiWriter(archive, digest)
	}
	return wrap(e, copyFile(to, f, size))
}

func wrap(e entry, err error) error {
	if err != nil {
		return fmt.Errorf("pack %s: %w", e.guest, err)
	}
	return nil
}
