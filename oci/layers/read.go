package layers

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Bounds of what an image may make this process read and keep. Registries refuse
// manifests of more than 4 MiB, and no builder makes more layers than this.
const (
	maxManifest  = 4 << 20
	maxLayers    = 1024
	maxManifests = 1024 // entries of an index
	maxDepth     = 4    // of indexes in indexes
	maxRead      = 64   // manifests and indexes that are read altogether
)

// Image is what an image says of its layers.
type Image struct {
	// Manifest is that of which the layers are, and Config its config.
	Manifest digest.Digest
	Config   ocispec.Descriptor
	// Modules are the layers that are WebAssembly binaries, in their order.
	Modules []Module
	// RootFS: there are layers of a root file system, too.
	RootFS bool
}

// Read finds the manifest with modules behind target, a manifest or an index.
// Of an index it takes, in this order, what is for wasip1/wasm, for wasi/wasm,
// for this machine, and for no platform, and the first of these that has modules.
// A manifest that is not there does not count: daemons fetch only those that they
// want. An image that has no modules is no error as long as it has a root file
// system.
//
// Errors: control.NotFound when content is missing, control.InvalidArgument for
// an image that is malformed, too large, or made for another host than WASI.
func Read(ctx context.Context, provider content.Provider, target ocispec.Descriptor) (*Image, error) {
	r := reader{ctx: ctx, provider: provider, left: maxRead}
	image, err := r.read(target, 0)
	if err != nil {
		return nil, err
	}
	if image == nil {
		return nil, control.Errorf(control.NotFound,
			"index %s has no manifest for wasip1/wasm, wasi/wasm or this machine's platform that was fetched; add one to the index, or pull the image for that platform", target.Digest)
	}
	return image, nil
}

type reader struct {
	ctx      context.Context
	provider content.Provider
	// left is how many more blobs may be read.
	left int
}

// document is a manifest or an index: which of them is known by what it holds,
// because descriptors may lie and mediaType is optional.
type document struct {
	MediaType    string                `json:"mediaType"`
	ArtifactType string                `json:"artifactType"`
	Config       ocispec.Descriptor    `json:"config"`
	Layers       []ocispec.Descriptor  `json:"layers"`
	Manifests    *[]ocispec.Descriptor `json:"manifests"`
}

// read returns nil without an error when an index has nothing for this machine.
func (r *reader) read(target ocispec.Descriptor, depth int) (*Image, error) {
	if depth > maxDepth || r.left == 0 {
		return nil, control.Errorf(control.InvalidArgument,
			"the image's index %s holds indexes in indexes, or more manifests than this runtime reads; publish a plain index", target.Digest)
	}
	r.left--
	b, err := readBlob(r.ctx, r.provider, target, "manifest")
	if err != nil {
		return nil, err
	}
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, control.Errorf(control.InvalidArgument, "%s is neither an image manifest nor an index: %w; push the image again", target.Digest, err)
	}
	switch {
	case d.Manifests != nil && (d.Layers != nil || d.Config.MediaType != ""):
		// CVE-2021-41190: what such a document means depends on the reader.
		return nil, control.Errorf(control.InvalidArgument, "%s is a manifest and an index at once; push the image again", target.Digest)
	case d.Manifests != nil:
		return r.index(*d.Manifests, target, depth)
	case !isManifestType(d.MediaType) || !isManifestType(target.MediaType):
		return nil, control.Errorf(control.InvalidArgument, "%s has the media type %q, which is no image; push the module as an image or a Wasm artifact", target.Digest, firstOf(d.MediaType, target.MediaType))
	}
	return newImage(target.Digest, &d)
}

// isManifestType accepts no type at all: it is optional in the document, and not
// every caller knows it.
func isManifestType(mediaType string) bool {
	return mediaType == "" || mediaType == ocispec.MediaTypeImageManifest || mediaType == dockerManifest
}

func (r *reader) index(manifests []ocispec.Descriptor, target ocispec.Descriptor, depth int) (*Image, error) {
	if len(manifests) > maxManifests {
		return nil, control.Errorf(control.InvalidArgument, "index %s has %d manifests, more than %d; publish a smaller index", target.Digest, len(manifests), maxManifests)
	}
	var without *Image
	for _, m := range preferred(manifests) {
		image, err := r.read(m, depth+1)
		switch {
		case isMissing(err):
			continue
		case err != nil:
			return nil, err
		case image != nil && len(image.Modules) > 0:
			return image, nil
		case without == nil:
			without = image
		}
	}
	return without, nil
}

// newImage sorts the layers of a manifest.
func newImage(dgst digest.Digest, d *document) (*Image, error) {
	if len(d.Layers) > maxLayers {
		return nil, control.Errorf(control.InvalidArgument, "manifest %s has %d layers, more than %d; publish an image of fewer layers", dgst, len(d.Layers), maxLayers)
	}
	for _, t := range []string{d.Config.MediaType, d.ArtifactType} {
		if a, ok := applications[t]; ok {
			return nil, control.Errorf(control.InvalidArgument, "the image is %s (%s), which this runtime does not host; %s", a.name, t, a.wayOut)
		}
	}
	image := &Image{Manifest: dgst, Config: d.Config}
	for _, l := range d.Layers {
		switch {
		case moduleTypes[l.MediaType]:
			if err := checkDigest(l.Digest, "layer"); err != nil {
				return nil, err
			}
			image.Modules = append(image.Modules, Module{Descriptor: l, Name: nameOf(l)})
		case isRootFS(l.MediaType):
			image.RootFS = true
		case isUnknownWasm(l.MediaType):
			return nil, control.Errorf(control.InvalidArgument,
				"layer %s of the image has the media type %q, a form of Wasm that is not known here; push the module as it is, as application/wasm", l.Digest, l.MediaType)
		}
	}
	if len(image.Modules) == 0 && !image.RootFS && len(d.Layers) > 0 {
		return nil, control.Errorf(control.InvalidArgument,
			"the image holds neither a root file system nor a Wasm module, but layers such as %q; push the module as application/wasm, or pack it with wasmctl pack", d.Layers[0].MediaType)
	}
	return image, nil
}

func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" && !isManifestType(v) {
			return v
		}
	}
	return ""
}

func isMissing(err error) bool {
	e, ok := errors.AsType[*control.Error](err)
	return ok && e.Class == control.NotFound
}

// ReadConfig returns the bytes of the config, which may be of any type.
//
// Errors are those of Read.
func (i *Image) ReadConfig(ctx context.Context, provider content.Provider) ([]byte, error) {
	return readBlob(ctx, provider, i.Config, "config")
}

// readBlob reads a small blob and verifies it.
func readBlob(ctx context.Context, provider content.Provider, d ocispec.Descriptor, kind string) ([]byte, error) {
	ra, err := open(ctx, provider, d, kind)
	if err != nil {
		return nil, err
	}
	defer ra.Close()
	if ra.Size() > maxManifest || d.Size > maxManifest {
		return nil, control.Errorf(control.InvalidArgument, "%s %s has %d bytes, more than the %d that registries take; push the image again", kind, d.Digest, max(ra.Size(), d.Size), maxManifest)
	}
	b := make([]byte, max(ra.Size(), 0))
	if _, err := ra.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, control.Errorf(control.Unavailable, "read %s %s of the image: %w", kind, d.Digest, err)
	}
	if d.Digest.Algorithm().FromBytes(b) != d.Digest {
		return nil, control.Errorf(control.InvalidArgument, "%s %s was damaged, its content has another digest; remove the image and pull it again", kind, d.Digest)
	}
	return b, nil
}

// checkDigest refuses what is no SHA-256: the methods of others panic.
func checkDigest(d digest.Digest, kind string) error {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return control.Errorf(control.InvalidArgument, "a %s of the image has the digest %s, which is no SHA-256; push the image again", kind, quote(string(d)))
	}
	return nil
}

func open(ctx context.Context, provider content.Provider, d ocispec.Descriptor, kind string) (content.ReaderAt, error) {
	if err := checkDigest(d.Digest, kind); err != nil {
		return nil, err
	}
	ra, err := provider.ReaderAt(ctx, d)
	switch {
	case errdefs.IsNotFound(err):
		return nil, control.Errorf(control.NotFound, "%s %s of the image is not on this node; pull the image again", kind, d.Digest)
	case err != nil:
		return nil, control.Errorf(control.Unavailable, "read %s %s of the image: %w", kind, d.Digest, err)
	}
	return ra, nil
}
