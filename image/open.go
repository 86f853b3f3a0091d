package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Opened is an image of any shape, from anywhere, as a node like this would take
// it.
type Opened struct {
	// Name is what the image is called where it lies; perhaps empty.
	Name string
	// Digest is that of what the name refers to.
	Digest v1.Hash
	// Platform is the one that a node like this takes.
	Platform string

	source source
	// target is the manifest: of an index, a node fetches no other.
	target   v1.Descriptor
	manifest v1.Manifest
	// config is nil when it is not that of a container.
	config *v1.ConfigFile
}

// Limits on what is read of an image that others have made.
const (
	maxManifest = 4 << 20 // bytes; registries have the same limit
	maxDepth    = 4       // indexes in an index
	maxChildren = 1000    // manifests in all of them
)

// Open opens the images of an OCI image layout, a directory or an uncompressed
// tar. Close ends what it returns.
func Open(ctx context.Context, path string) (_ []*Opened, closeSource func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	var s interface {
		source
		file(name string) (io.ReadCloser, error)
	}
	if st.IsDir() {
		f.Close()
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, nil, err
		}
		s = layoutDir{root}
	} else if s, err = openArchive(f); err != nil {
		f.Close()
		return nil, nil, err
	}
	images, err := openLayout(ctx, path, s, s.file)
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return images, s.Close, nil
}

// openLayout opens what the index.json of a layout names, but for what is
// attached to an image.
func openLayout(ctx context.Context, path string, s source, file func(string) (io.ReadCloser, error)) ([]*Opened, error) {
	r, err := file(indexFile)
	if err != nil {
		return nil, fmt.Errorf("%s is not an OCI image layout: %w", path, err)
	}
	defer r.Close()
	var index v1.IndexManifest
	if err := decode(r, &index); err != nil {
		return nil, fmt.Errorf("%s: index.json: %w", path, err)
	}
	if len(index.Manifests) > maxChildren {
		return nil, fmt.Errorf("%s holds %d images, more than %d", path, len(index.Manifests), maxChildren)
	}
	var images []*Opened
	for _, d := range index.Manifests {
		if d.ArtifactType != "" || !isManifest(d.MediaType) {
			continue
		}
		name := d.Annotations[imageNameAnnotation]
		if name == "" {
			name = d.Annotations[refNameAnnotation]
		}
		img, err := open(ctx, s, d, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if img.manifest.Subject == nil {
			images = append(images, img)
		}
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("%s holds no image", path)
	}
	return images, nil
}

// Open opens an image in a registry. Its name may have a tag or a digest.
func (r Registry) Open(ctx context.Context, full string) (*Opened, error) {
	complete, err := completeName(full)
	if err != nil {
		return nil, err
	}
	ref, err := r.reference(complete)
	if err != nil {
		return nil, err
	}
	opts, err := r.options(ctx)
	if err != nil {
		return nil, err
	}
	d, err := remote.Get(ref, opts...)
	if err != nil {
		return nil, explain(ctx, "pull", complete, err)
	}
	img, err := open(ctx, repository{ref.Context(), opts}, d.Descriptor, complete)
	if err != nil {
		return nil, explain(ctx, "pull", complete, err)
	}
	return img, nil
}

// open follows a descriptor to the manifest that a node like this would take.
func open(ctx context.Context, s source, d v1.Descriptor, name string) (*Opened, error) {
	img := &Opened{Name: name, Digest: d.Digest, source: s}
	node := platforms.DefaultSpec()
	if d.MediaType.IsIndex() {
		c := chooser{source: s, node: platforms.Default()}
		if err := c.walk(ctx, d, maxDepth); err != nil {
			return nil, err
		}
		if c.best == nil {
			return nil, fmt.Errorf("the image has no manifest for %s, only for %v: containerd takes none of them on a node like this; pack it for %s",
				platforms.Format(node), c.seen, platforms.Format(node))
		}
		d = *c.best
	}
	img.target = d
	if err := img.read(ctx, d, &img.manifest); err != nil {
		return nil, err
	}
	platform := d.Platform
	if t := img.manifest.Config.MediaType; t.IsConfig() {
		img.config = &v1.ConfigFile{}
		if err := img.read(ctx, img.manifest.Config, img.config); err != nil {
			return nil, err
		}
		if platform == nil {
			platform = img.config.Platform()
		}
	}
	if platform != nil {
		img.Platform = platform.String()
	}
	return img, nil
}

// chooser finds the best manifest for a node, as containerd does.
type chooser struct {
	source source
	node   platforms.MatchComparer
	best   *v1.Descriptor
	// seen are the platforms that were found, the first of them.
	seen []string
	n    int
}

func (c *chooser) walk(ctx context.Context, d v1.Descriptor, depth int) error {
	if depth == 0 {
		return fmt.Errorf("the image's indexes are more than %d deep", maxDepth)
	}
	var index v1.IndexManifest
	if err := readJSON(ctx, c.source, d, &index); err != nil {
		return err
	}
	for _, d := range index.Manifests {
		if c.n++; c.n > maxChildren {
			return fmt.Errorf("the image has more than %d manifests", maxChildren)
		}
		if d.MediaType.IsIndex() {
			if err := c.walk(ctx, d, depth-1); err != nil {
				return err
			}
			continue
		}
		if d.Platform == nil || !d.MediaType.IsImage() {
			continue
		}
		p := specPlatform(*d.Platform)
		if len(c.seen) < 5 {
			c.seen = append(c.seen, platforms.FormatAll(p))
		}
		if c.node.Match(p) && (c.best == nil || c.node.Less(p, specPlatform(*c.best.Platform))) {
			c.best = &d
		}
	}
	return nil
}

func specPlatform(p v1.Platform) ocispec.Platform {
	return platforms.Normalize(ocispec.Platform{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
	})
}

func (img *Opened) read(ctx context.Context, d v1.Descriptor, v any) error {
	return readJSON(ctx, img.source, d, v)
}

// readJSON reads a manifest or a config.
func readJSON(ctx context.Context, s source, d v1.Descriptor, v any) error {
	if d.Size > maxManifest {
		return fmt.Errorf("%s %s has %d MiB, more than %d", d.MediaType, d.Digest, d.Size>>20, maxManifest>>20)
	}
	r, err := openVerified(ctx, s, d)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := decode(r, v); err != nil {
		return fmt.Errorf("%s %s: %w", d.MediaType, d.Digest, err)
	}
	return nil
}

// decode reads JSON to the end, where a digest is compared.
func decode(r io.Reader, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return err
	}
	if len(b) > maxManifest {
		return fmt.Errorf("it is larger than %d MiB", maxManifest>>20)
	}
	return json.Unmarshal(b, v)
}

// openVerified opens content that fails at its end if it is not what its
// descriptor says.
func openVerified(ctx context.Context, s source, d v1.Descriptor) (io.ReadCloser, error) {
	if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 2*sha256.Size {
		return nil, fmt.Errorf("%s %s: only digests of sha256 can be checked", d.MediaType, d.Digest)
	}
	r, err := s.open(ctx, d)
	if err != nil {
		return nil, err
	}
	return &verified{ReadCloser: r, d: d, left: d.Size, digest: sha256.New()}, nil
}

type verified struct {
	io.ReadCloser
	d      v1.Descriptor
	left   int64
	digest hash.Hash
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.digest.Write(p[:n])
	v.left -= int64(n)
	if v.left < 0 || err == io.EOF && (v.left != 0 || sum(v.digest) != v.d.Digest) {
		return 0, fmt.Errorf("%s %s is damaged: its content has another digest or size", v.d.MediaType, v.d.Digest)
	}
	return n, err
}
