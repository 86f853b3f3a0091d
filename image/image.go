package image

import (
	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is a packed image in temporary files. Close frees them.
type Image struct {
	// Name is the full reference, such as docker.io/library/app:latest.
	Name reference.NamedTagged
	// Module is the digest of the module.
	Module v1.Hash

	spec   Spec
	layers *layerSet
	// configs and manifests are those of the platforms, in their order.
	configs, manifests []*blob
	// top is what the name refers to: an index, or the only manifest.
	top *blob
	// referrers are the attachments, each with its manifest last.
	referrers [][]*blob
}

// Pack makes an image. An error that has to do with the module is a
// *control.Error with the sentence that the runtime would give.
func Pack(spec Spec) (_ *Image, err error) {
	s, ref, err := spec.normalise()
	if err != nil {
		return nil, err
	}
	l, err := newLayers(s)
	if err != nil {
		return nil, err
	}
	img := &Image{Name: ref, Module: l.module, spec: s, layers: l}
	defer func() {
		if err != nil {
			img.Close()
		}
	}()
	if err := img.describe(); err != nil {
		return nil, err
	}
	for _, a := range s.Attachments {
		blobs, err := a.attach(img.top.Descriptor)
		if err != nil {
			return nil, err
		}
		img.referrers = append(img.referrers, blobs)
	}
	return img, nil
}

// describe makes the configs, the manifests and what is on top of them.
func (img *Image) describe() error {
	s := img.spec
	add := func(config *blob, err error) error {
		if err != nil {
			return err
		}
		m := newManifest(config, img.layers.blobs, s.Annotations)
		manifest, err := marshal(m.MediaType, m)
		img.configs, img.manifests = append(img.configs, config), append(img.manifests, manifest)
		return err
	}
	if s.Shape == Artifact {
		if err := add(newArtifactConfig(s, img.layers)); err != nil {
			return err
		}
	}
	for _, p := range s.Platforms {
		if err := add(newConfig(s, p, img.layers)); err != nil {
			return err
		}
	}
	if s.Shape == Artifact || s.Shape == Wasi {
		img.top = img.manifests[0]
		return nil
	}
	var err error
	img.top, err = newIndex(s, img.manifests)
	return err
}

// Digest is that of what the name refers to: the index, or the only manifest.
func (img *Image) Digest() v1.Hash { return img.top.Digest }

// Referrers returns the digests of the attachments' manifests.
func (img *Image) Referrers() []v1.Hash {
	var digests []v1.Hash
	for _, blobs := range img.referrers {
		digests = append(digests, blobs[len(blobs)-1].Digest)
	}
	return digests
}

// Close frees the image's files.
func (img *Image) Close() {
	img.layers.close()
	for _, blobs := range img.referrers {
		for _, b := range blobs {
			b.close()
		}
	}
}

// blobs returns every blob once, what refers to others before them.
func (img *Image) blobs() []*blob {
	all := []*blob{img.top}
	for i, m := range img.manifests {
		all = append(all, m, img.configs[i])
	}
	all = append(all, img.layers.blobs...)
	for _, blobs := range img.referrers {
		all = append(all, blobs...)
	}
	seen := map[v1.Hash]bool{}
	var once []*blob
	for _, b := range all {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			once = append(once, b)
		}
	}
	return once
}
