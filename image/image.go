package image

import (
	"io"
	"maps"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Result names what was written.
type Result struct {
	// Name is the full reference, such as docker.io/library/app:latest.
	Name string
	// Digest is that of the image's index.
	Digest v1.Hash
	// Module is the digest of the module.
	Module v1.Hash
}

// Write writes the image to w as a tar of an OCI image layout. An error that
// has to do with the module is a *control.Error with the sentence that the
// runtime would give.
func Write(w io.Writer, spec Spec) (Result, error) {
	s, ref, err := spec.normalise()
	if err != nil {
		return Result{}, err
	}
	l, err := newLayer(s)
	if err != nil {
		return Result{}, err
	}
	defer l.close()

	var images []v1.Image
	for _, p := range s.Platforms {
		img, err := newImage(s, p, l)
		if err != nil {
			return Result{}, err
		}
		images = append(images, img)
	}
	index := newIndex(s, images)
	digest, err := index.Digest()
	if err != nil {
		return Result{}, err
	}
	if err := writeArchive(w, s, ref, index, images, l); err != nil {
		return Result{}, err
	}
	return Result{Name: ref.String(), Digest: digest, Module: l.module}, nil
}

// newImage makes the image of one platform. Images of two platforms differ in
// their configs only by the platform.
func newImage(s Spec, p v1.Platform, l *layer) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{
		Layer:   l,
		History: v1.History{Created: v1.Time{Time: s.Epoch}, CreatedBy: "wasmctl pack"},
	})
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Variant = p.OS, p.Architecture, p.Variant
	cf.OSVersion, cf.OSFeatures = p.OSVersion, p.OSFeatures
	cf.Created = v1.Time{Time: s.Epoch}
	labels := map[string]string{DigestLabel: l.module.String()}
	maps.Copy(labels, s.Labels)
	cf.Config = v1.Config{
		Entrypoint: []string{ModulePath},
		Cmd:        s.Args,
		Env:        s.Env,
		WorkingDir: s.Workdir,
		Labels:     labels,
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		return nil, err
	}
	if len(s.Annotations) > 0 {
		img = mutate.Annotations(img, s.Annotations).(v1.Image)
	}
	return img, nil
}

// newIndex makes the image's index of one manifest per platform.
func newIndex(s Spec, images []v1.Image) v1.ImageIndex {
	adds := make([]mutate.IndexAddendum, len(images))
	for i, img := range images {
		adds[i] = mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &s.Platforms[i]}}
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), adds...)
	if len(s.Annotations) > 0 {
		index = mutate.Annotations(index, s.Annotations).(v1.ImageIndex)
	}
	return index
}
