package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations by which importers name what they import: containerd (1.2 on)
// takes the full reference from its own, skopeo and Podman the tag from OCI's
// (image-spec, annotations.md).
const (
	imageNameAnnotation = "io.containerd.image.name"
	refNameAnnotation   = "org.opencontainers.image.ref.name"
)

// dockerManifest is the entry of manifest.json, which is how Docker names
// images in archives. Docker's classic image store reads nothing else;
// importers of OCI layouts ignore it.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// blob is one file of the layout below blobs/.
type blob struct {
	digest v1.Hash
	size   int64
	data   io.Reader
}

// writeArchive writes an OCI image layout (image-spec, image-layout.md) as a
// tar. Its index.json points to the image's index, not to the manifests:
// only so do importers keep all platforms under one name.
func writeArchive(w io.Writer, s Spec, ref reference.NamedTagged, index v1.ImageIndex, images []v1.Image, l *layer) error {
	blobs, docker, err := collect(ref, index, images, l)
	if err != nil {
		return err
	}
	entry := v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType:   types.OCIImageIndex,
			Digest:      blobs[0].digest,
			Size:        blobs[0].size,
			Annotations: map[string]string{imageNameAnnotation: ref.String(), refNameAnnotation: ref.Tag()},
		}},
	}

	archive := tar.NewWriter(w)
	put := func(name string, size int64, data io.Reader) error {
		hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: s.Epoch}
		if data == nil {
			hdr.Typeflag, hdr.Mode = tar.TypeDir, 0o755
		}
		err := archive.WriteHeader(hdr)
		if err == nil && data != nil {
			_, err = io.Copy(archive, data)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		return nil
	}
	for _, f := range []struct {
		name string
		v    any
	}{
		{"oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}},
		{"index.json", entry},
		{"manifest.json", []dockerManifest{docker}},
	} {
		b, err := json.Marshal(f.v)
		if err != nil {
			return err
		}
		if err := put(f.name, int64(len(b)), bytes.NewReader(b)); err != nil {
			return err
		}
	}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := put(dir, 0, nil); err != nil {
			return err
		}
	}
	for _, b := range blobs {
		if err := put(blobPath(b.digest), b.size, b.data); err != nil {
			return err
		}
	}
	return archive.Close()
}

// collect returns the blobs of the image, the index first and the layer last,
// and what Docker's classic image store is told: the first platform.
func collect(ref reference.NamedTagged, index v1.ImageIndex, images []v1.Image, l *layer) ([]blob, dockerManifest, error) {
	var blobs []blob
	add := func(raw func() ([]byte, error)) (v1.Hash, error) {
		b, err := raw()
		if err != nil {
			return v1.Hash{}, err
		}
		h, size, err := v1.SHA256(bytes.NewReader(b))
		blobs = append(blobs, blob{h, size, bytes.NewReader(b)})
		return h, err
	}
	docker := dockerManifest{RepoTags: []string{ref.String()}, Layers: []string{blobPath(l.digest)}}
	if _, err := add(index.RawManifest); err != nil {
		return nil, docker, err
	}
	for _, img := range images {
		if _, err := add(img.RawManifest); err != nil {
			return nil, docker, err
		}
		h, err := add(img.RawConfigFile)
		if err != nil {
			return nil, docker, err
		}
		if docker.Config == "" {
			docker.Config = blobPath(h)
		}
	}
	data, err := l.Compressed()
	if err != nil {
		return nil, docker, err
	}
	return append(blobs, blob{l.digest, l.size, data}), docker, nil
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
