package image

import (
	"context"
	"io"
	"slices"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push writes the image, and what is attached to it, to the registry of its
// name. What the registry has is not sent again. progress is told how many of how
// many bytes are there, by any goroutine; nil tells nobody.
func (img *Image) Push(ctx context.Context, r Registry, progress func(complete, total int64)) error {
	full := img.Name.String()
	ref, err := r.reference(full)
	if err != nil {
		return err
	}
	opts, err := r.options(ctx)
	if err != nil {
		return err
	}
	pusher, err := remote.NewPusher(opts...)
	if err != nil {
		return err
	}
	p := &push{Pusher: pusher, repository: ref.Context(), progress: progress}
	if err := p.image(ctx, img, ref); err != nil {
		return explain(ctx, "push", full, err)
	}
	return nil
}

// push is one push of an image.
type push struct {
	*remote.Pusher
	repository name.Repository
	progress   func(complete, total int64)

	total int64
	// before is the size of the blobs that are there.
	before atomic.Int64
}

// image pushes blobs before what refers to them, so that nobody sees an image
// with a part missing.
func (p *push) image(ctx context.Context, img *Image, ref name.Reference) error {
	for _, b := range img.blobs() {
		p.total += b.Descriptor.Size
	}
	for _, b := range slices.Concat(img.layers.blobs, img.configs) {
		if err := p.blob(ctx, b); err != nil {
			return err
		}
	}
	for _, m := range img.manifests {
		if m == img.top {
			continue
		}
		if err := p.manifest(ctx, m, p.digest(m)); err != nil {
			return err
		}
	}
	if err := p.manifest(ctx, img.top, ref); err != nil {
		return err
	}
	for _, blobs := range img.referrers {
		last := len(blobs) - 1
		for _, b := range blobs[:last] {
			if err := p.blob(ctx, b); err != nil {
				return err
			}
		}
		if err := p.manifest(ctx, blobs[last], p.digest(blobs[last])); err != nil {
			return err
		}
	}
	return nil
}

func (p *push) digest(b *blob) name.Reference { return p.repository.Digest(b.Digest.String()) }

func (p *push) blob(ctx context.Context, b *blob) error {
	layer, err := partial.CompressedToLayer(sentBlob{remoteBlob{b}, p})
	if err == nil {
		err = p.Upload(ctx, p.repository, layer)
	}
	if err == nil {
		p.done(b)
	}
	return err
}

func (p *push) manifest(ctx context.Context, b *blob, ref name.Reference) error {
	err := p.Put(ctx, ref, sentManifest{remoteBlob{b}})
	if err == nil {
		p.done(b)
	}
	return err
}

// done counts a blob that the registry has, whether it was sent or not.
func (p *push) done(b *blob) {
	p.before.Add(b.Descriptor.Size)
	p.report(0)
}

func (p *push) report(more int64) {
	if p.progress != nil {
		p.progress(min(p.before.Load()+more, p.total), p.total)
	}
}

// sentManifest is a manifest as go-containerregistry takes it.
type sentManifest struct{ remoteBlob }

// RawManifest implements remote.Taggable.
func (m sentManifest) RawManifest() ([]byte, error) { return io.ReadAll(m.reader()) }

// sentBlob reports how much of it has been sent. After a failure it is sent from
// its beginning.
type sentBlob struct {
	remoteBlob
	push *push
}

// Compressed implements partial.CompressedLayer.
func (b sentBlob) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(&sentReader{r: b.reader(), push: b.push}), nil
}

type sentReader struct {
	r    io.Reader
	n    int64
	push *push
}

func (s *sentReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	s.push.report(s.n)
	return n, err
}
