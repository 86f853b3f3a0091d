package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// dockerManifest is the entry of manifest.json, which is how Docker names
// images in archives. Docker's classic image store reads nothing else;
// importers of OCI layouts ignore it.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// WriteArchive writes an OCI image layout (image-spec, image-layout.md) as a
// tar, which "ctr image import", "docker load", skopeo and Podman read.
func (img *Image) WriteArchive(w io.Writer) error {
	archive := tar.NewWriter(w)
	put := func(name string, size int64, data io.Reader) error {
		hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: img.spec.Epoch}
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
	files := []struct {
		name string
		v    any
	}{
		{layoutFile, layoutVersion},
		{indexFile, v1.IndexManifest{SchemaVersion: 2, MediaType: indexType, Manifests: img.entries()}},
	}
	if docker, ok := img.docker(); ok {
		files = append(files, struct {
			name string
			v    any
		}{"manifest.json", []dockerManifest{docker}})
	}
	for _, f := range files {
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
	for _, b := range img.blobs() {
		if err := put(blobPath(b.Digest), b.Descriptor.Size, b.reader()); err != nil {
			return err
		}
	}
	return archive.Close()
}

// docker returns what Docker's classic image store is told: the first platform.
// It stores tars only.
func (img *Image) docker() (dockerManifest, bool) {
	d := dockerManifest{Config: blobPath(img.configs[0].Digest), RepoTags: []string{img.Name.String()}}
	for _, l := range img.layers.blobs {
		if l.MediaType == wasmLayer {
			return dockerManifest{}, false
		}
		d.Layers = append(d.Layers, blobPath(l.Digest))
	}
	return d, true
}
