package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wasmshim/containerd-shim-wasm/oci"
)

// provider is a source in the form of containerd's content store.
type provider struct{ source }

// ReaderAt implements content.Provider. The content has at most the size that its
// descriptor says.
//
// Errors: errdefs.ErrNotFound.
func (p provider) ReaderAt(ctx context.Context, d ocispec.Descriptor) (content.ReaderAt, error) {
	if d.Size > oci.MaxModuleSize {
		return nil, fmt.Errorf("%s %s has %d MiB, more than the %d MiB that a module may have", d.MediaType, d.Digest, d.Size>>20, int64(oci.MaxModuleSize)>>20)
	}
	hash, err := v1.NewHash(d.Digest.String())
	if err != nil {
		return nil, err
	}
	r, err := p.open(ctx, v1.Descriptor{MediaType: types.MediaType(d.MediaType), Digest: hash, Size: d.Size})
	if isAbsent(err) {
		return nil, errdefs.ErrNotFound.WithMessage(err.Error())
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// One byte more shows that there is more.
	b, err := fillBlob("", func(w io.Writer) error { _, err := io.Copy(w, io.LimitReader(r, d.Size+1)); return err })
	if err != nil {
		return nil, err
	}
	return readerAt{b.file, b.Descriptor.Size}, nil
}

func isAbsent(err error) bool {
	e, ok := errors.AsType[*transport.Error](err)
	return errors.Is(err, fs.ErrNotExist) || errdefs.IsNotFound(err) || ok && e.StatusCode == http.StatusNotFound
}

type readerAt struct {
	*os.File
	size int64
}

// Size implements content.ReaderAt.
func (r readerAt) Size() int64 { return r.size }
