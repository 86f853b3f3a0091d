package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// source is where the content of images is read from. It need not be true:
// whoever reads compares digests.
type source interface {
	open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
	io.Closer
}

// layoutDir is an OCI image layout. Links do not lead out of it.
type layoutDir struct{ *os.Root }

func (s layoutDir) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return s.file(blobPath(d.Digest))
}

func (s layoutDir) file(name string) (io.ReadCloser, error) { return s.Open(name) }

// layoutTar is an OCI image layout in a tar.
type layoutTar struct {
	*os.File
	files map[string]*io.SectionReader
}

// maxArchiveFiles bounds the files of an archive.
const maxArchiveFiles = 100_000

// openArchive finds the files of a tar without reading them.
func openArchive(f *os.File) (*layoutTar, error) {
	a := &layoutTar{File: f, files: map[string]*io.SectionReader{}}
	for r := tar.NewReader(f); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not an OCI image layout in a tar: %w", f.Name(), err)
		}
		if hdr.Typeflag != tar.TypeReg {
			continue
		}
		// The reader stands at the content, and a plain file has no holes.
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if len(a.files) == maxArchiveFiles {
			return nil, fmt.Errorf("%s holds more than %d files, which no image needs", f.Name(), maxArchiveFiles)
		}
		a.files[path.Clean(hdr.Name)] = io.NewSectionReader(f, at, hdr.Size)
	}
}

func (s *layoutTar) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return s.file(blobPath(d.Digest))
}

func (s *layoutTar) file(name string) (io.ReadCloser, error) {
	r, ok := s.files[name]
	if !ok {
		return nil, fmt.Errorf("there is no %s in it: %w", name, fs.ErrNotExist)
	}
	return io.NopCloser(io.NewSectionReader(r, 0, r.Size())), nil
}

// repository is one of a registry.
type repository struct {
	name.Repository
	options []remote.Option
}

func (s repository) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	ref := s.Digest(d.Digest.String())
	if isManifest(d.MediaType) {
		m, err := remote.Get(ref, s.options...)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(m.Manifest)), nil
	}
	l, err := remote.Layer(ref, s.options...)
	if err != nil {
		return nil, err
	}
	return l.Compressed()
}

// Close implements io.Closer.
func (s repository) Close() error { return nil }

func isManifest(t types.MediaType) bool { return t.IsImage() || t.IsIndex() }
