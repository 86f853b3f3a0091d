package image

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// layer is the one layer of an image: a gzipped tar in a temporary file. The
// files that it is made of are read once, so that its digests are true even if
// somebody writes to them meanwhile.
type layer struct {
	file   *os.File // has no name any more; closing it frees it
	size   int64
	digest v1.Hash // of the compressed bytes
	diffID v1.Hash // of the tar
	module v1.Hash // of the module in it
}

// newLayer writes the entries into a layer. It refuses a module that is not a
// core module.
func newLayer(s Spec) (_ *layer, err error) {
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "wasm-image-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return nil, err
	}

	compressed, plain, module := sha256.New(), sha256.New(), sha256.New()
	counted := &counter{w: io.MultiWriter(file, compressed)}
	// The header of gzip has no time and no name here, so that equal layers
	// are equal bytes.
	zip := gzip.NewWriter(counted)
	archive := tar.NewWriter(io.MultiWriter(zip, plain))
	for _, e := range entries {
		var digest hash.Hash
		if e.guest == ModulePath {
			digest = module
		}
		if err := e.write(archive, s, digest); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		return nil, fmt.Errorf("write the layer: %w", err)
	}
	return &layer{
		file: file, size: counted.n,
		digest: sum(compressed), diffID: sum(plain), module: sum(module),
	}, nil
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
	f, size, err := e.open()
	if err != nil {
		return err
	}
	defer f.Close()
	hdr.Size = size
	if err := archive.WriteHeader(hdr); err != nil {
		return wrap(e, err)
	}
	to := io.Writer(archive)
	if digest != nil {
		to = io.MultiWriter(archive, digest)
	}
	_, err = io.CopyN(to, f, size)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s became shorter while it was read", e.host)
	}
	return wrap(e, err)
}

// open opens the regular file that the entry is made of.
func (e entry) open() (*os.File, int64, error) {
	// O_NONBLOCK: a FIFO would wait for its writer before it can be refused.
	f, err := os.OpenFile(e.host, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", e.host)
	}
	if err == nil && e.guest == ModulePath {
		err = oci.CheckModule(e.host, f, st.Size())
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

func wrap(e entry, err error) error {
	if err != nil {
		return fmt.Errorf("pack %s: %w", e.guest, err)
	}
	return nil
}

// close frees the layer's bytes.
func (l *layer) close() { l.file.Close() }

// Digest implements v1.Layer.
func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID implements v1.Layer.
func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size implements v1.Layer.
func (l *layer) Size() (int64, error) { return l.size, nil }

// MediaType implements v1.Layer.
func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// Compressed implements v1.Layer.
func (l *layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(l.file, 0, l.size)), nil
}

// Uncompressed implements v1.Layer.
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	return gzip.NewReader(io.NewSectionReader(l.file, 0, l.size))
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// counter counts what is written through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
