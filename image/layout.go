package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

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

// Names and constants of an OCI image layout (image-spec, image-layout.md).
const (
	layoutFile = "oci-layout"
	indexFile  = "index.json"
	indexType  = types.OCIImageIndex
)

var layoutVersion = map[string]string{"imageLayoutVersion": "1.0.0"}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// entries returns the image's descriptors in the index.json of a layout. The
// first points to the image's index, not to its manifests: only so do importers
// keep all platforms under one name.
func (img *Image) entries() []v1.Descriptor {
	d := img.top.Descriptor
	d.Annotations = map[string]string{imageNameAnnotation: img.Name.String(), refNameAnnotation: img.Name.Tag()}
	all := []v1.Descriptor{d}
	for _, blobs := range img.referrers {
		d := blobs[len(blobs)-1].Descriptor
		d.ArtifactType = string(blobs[0].MediaType)
		all = append(all, d)
	}
	return all
}

// WriteLayout adds the image to the OCI image layout in the directory dir, which
// it makes where there is none. An image of the same name in it is replaced; its
// blobs stay. copyBlob copies the content of one, so that it can be interrupted.
func (img *Image) WriteLayout(dir string, copyBlob func(io.Writer, io.Reader) error) error {
	index, err := readLayout(dir)
	if err != nil {
		return err
	}
	for _, b := range img.blobs() {
		path := filepath.Join(dir, filepath.FromSlash(blobPath(b.Digest)))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := replaceFile(path, func(w io.Writer) error { return copyBlob(w, b.reader()) }); err != nil {
			return err
		}
	}
	added := img.entries()
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d v1.Descriptor) bool {
		return d.Annotations[imageNameAnnotation] == img.Name.String() ||
			slices.ContainsFunc(added, func(a v1.Descriptor) bool { return len(d.Annotations) == 0 && a.Digest == d.Digest })
	})
	index.Manifests = append(index.Manifests, added...)
	// index.json comes last: until then readers see what was there before.
	for _, f := range []struct {
		name string
		v    any
	}{{layoutFile, layoutVersion}, {indexFile, index}} {
		b, err := json.Marshal(f.v)
		if err != nil {
			return err
		}
		if err := replaceFile(filepath.Join(dir, f.name), func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
			return err
		}
	}
	return nil
}

// maxIndex bounds the index of a layout, in bytes.
const maxIndex = 4 << 20

// readLayout reads the index of a layout. A directory that is absent or empty is
// an empty one; any other directory is not written to.
func readLayout(dir string) (v1.IndexManifest, error) {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: indexType}
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(names) == 0 {
		return index, nil
	}
	if err != nil {
		return index, err
	}
	if _, err := os.Stat(filepath.Join(dir, layoutFile)); err != nil {
		return index, fmt.Errorf("%s is neither empty nor an OCI image layout; name another directory", dir)
	}
	f, err := os.Open(filepath.Join(dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil
	}
	if err != nil {
		return index, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err != nil {
		return index, err
	}
	if len(b) > maxIndex {
		return index, fmt.Errorf("%s is larger than %d MiB; name another directory", f.Name(), maxIndex>>20)
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return index, fmt.Errorf("%s is not the index of an OCI image layout: %w; name another directory", f.Name(), err)
	}
	return index, nil
}

// replaceFile gives a file its content as a whole or not at all.
func replaceFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
