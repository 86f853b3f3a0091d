package fetch

import (
	"bytes"
	"context"
	"slices"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci/layers"
)

// CRI names an image by the digest of its config, and takes two whose configs are
// equal for one. For a root file system that is right, since the config has the
// digests of its layers. The configs of artifacts often have nothing of their
// modules, and CRI then makes a container of whichever image it finds first.

// criImages selects the images of which CRI knows.
const criImages = `labels."io.cri-containerd.image"==managed`

// checkAsked refuses a module of another image than the one that CRI was asked
// for. The annotation of newer daemons is the name that the kubelet says;
// that of older ones, and without such a kubelet, is the name of what CRI has
// taken: then an image must be one of a kind.
func (d *daemon) checkAsked(ctx context.Context, asked string, found *image, read *layers.Image) error {
	if asked == "" {
		return nil
	}
	if other := d.named(ctx, asked); other != nil && other.name != found.name {
		if d.sameModules(ctx, other, found, read) {
			return nil
		}
		return control.Errorf(control.InvalidArgument,
			"the container is to run image %s, and containerd made it of %s: their configs are equal, so that CRI takes them for one image; give them different configs, as wasmctl pack does, or remove %s from the node",
			other.name, found.name, found.name)
	}
	config, err := read.ReadConfig(ctx, d.content)
	if err != nil {
		return about(found, err)
	}
	if namesModules(config, read) {
		return nil
	}
	return d.checkOneOfAKind(ctx, found, read)
}

// named returns the image that a user means by the name, or nil if there is none
// or the name is none.
func (d *daemon) named(ctx context.Context, name string) *image {
	img, err := d.image(ctx, familiar(name))
	if err != nil {
		return nil
	}
	return img
}

// namesModules tells that no image with other modules has this config.
func namesModules(config []byte, read *layers.Image) bool {
	return !slices.ContainsFunc(read.Digests(), func(d digest.Digest) bool {
		return !bytes.Contains(config, []byte(d.Encoded()))
	})
}

func (d *daemon) sameModules(ctx context.Context, other, found *image, read *layers.Image) bool {
	if other.target.Digest == found.target.Digest {
		return true
	}
	o, err := layers.Read(ctx, d.content, other.target)
	return err == nil && slices.Equal(o.Digests(), read.Digests())
}

// checkOneOfAKind refuses an image when CRI knows another with the same config and
// other modules.
func (d *daemon) checkOneOfAKind(ctx context.Context, found *image, read *layers.Image) error {
	all, err := d.images.List(ctx, &imagesapi.ListImagesRequest{Filters: []string{criImages}})
	if err != nil {
		return control.Errorf(control.Unavailable, "ask containerd for its images: %w", errgrpc.ToNative(err))
	}
	seen := map[digest.Digest]bool{found.target.Digest: true}
	for _, i := range all.GetImages() {
		other := newImage(i)
		if seen[other.target.Digest] {
			continue
		}
		seen[other.target.Digest] = true
		o, err := layers.Read(ctx, d.content, other.target)
		if err != nil || o.Config.Digest != read.Config.Digest || slices.Equal(o.Digests(), read.Digests()) {
			continue
		}
		return control.Errorf(control.InvalidArgument,
			"images %s and %s have equal configs, so that CRI takes them for one image and which of them is meant cannot be told; give them different configs, as wasmctl pack does, or remove one of them from the node",
			found.name, other.name)
	}
	return nil
}
