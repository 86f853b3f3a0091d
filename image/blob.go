package image

import (
	"bytes"
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
)

// blob is content with its descriptor: a layer, a config or a manifest.
type blob struct {
	v1.Descriptor
	content io.ReaderAt
	// file holds the content, if memory does not. It has no name any more;
	// closing it frees it.
	file *os.File
}

// newBlob describes what is in memory.
func newBlob(b []byte, mediaType types.MediaType) *blob {
	digest := sha256.Sum256(b)
	return &blob{content: bytes.NewReader(b), Descriptor: v1.Descriptor{
		MediaType: mediaType, Size: int64(len(b)),
		Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(digest[:])},
	}}
}

// fillBlob lets fill write a blob into a temporary file. What the blob is made
// of is read once, so that its digest is true even if somebody writes to that
// meanwhile.
func fillBlob(mediaType types.MediaType, fill func(io.Writer) error) (_ *blob, err error) {
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
	digest := sha256.New()
	counted := &counter{w: io.MultiWriter(file, digest)}
	if err := fill(counted); err != nil {
		return nil, err
	}
	return &blob{content: file, file: file, Descriptor: v1.Descriptor{
		MediaType: mediaType, Size: counted.n, Digest: sum(digest),
	}}, nil
}

// fileBlob copies a file of this machine, which check may refuse.
func fileBlob(path string, mediaType types.MediaType, check func(f *os.File, size int64) error) (*blob, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if check != nil {
		if err := check(f, size); err != nil {
			return nil, err
		}
	}
	return fillBlob(mediaType, func(w io.Writer) error { return copyFile(w, f, size) })
}

// openRegular opens a regular file of this machine.
func openRegular(path string) (*os.File, int64, error) {
	// O_NONBLOCK: a FIFO would wait for its writer before it can be refused.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

func copyFile(w io.Writer, f *os.File, size int64) error {
	_, err := io.CopyN(w, f, size)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s became shorter while it was read", f.Name())
	}
	return err
}

// reader returns the content from its beginning.
func (b *blob) reader() io.Reader { return io.NewSectionReader(b.content, 0, b.Descriptor.Size) }

func (b *blob) close() {
	if b.file != nil {
		b.file.Close()
	}
}

// remoteBlob is a blob as go-containerregistry takes it.
type remoteBlob struct{ *blob }

// Digest implements partial.CompressedLayer.
func (b remoteBlob) Digest() (v1.Hash, error) { return b.Descriptor.Digest, nil }

// Size implements partial.CompressedLayer.
func (b remoteBlob) Size() (int64, error) { return b.Descriptor.Size, nil }

// MediaType implements partial.CompressedLayer.
func (b remoteBlob) MediaType() (types.MediaType, error) { return b.Descriptor.MediaType, nil }

// Compressed implements partial.CompressedLayer.
func (b remoteBlob) Compressed() (io.ReadCloser, error) { return io.NopCloser(b.reader()), nil }

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
