package image

import (
	"fmt"
	"mime"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// titleAnnotation is the name of a file in a layer (image-spec, annotations.md).
const titleAnnotation = "org.opencontainers.image.title"

// Attachment is a file that goes beside the image as a referrer of it (image-spec
// 1.1, manifest.md, "Guidelines for Artifact Usage"): an SBOM, a signature, a
// licence.
type Attachment struct {
	// File is its path on this machine.
	File string
	// MediaType is what it is, such as application/spdx+json, and by what those
	// who look for it find it.
	MediaType string
}

func (a Attachment) title() string { return filepath.Base(a.File) }

// attach makes the blobs of a referrer to the subject, its manifest last.
func (a Attachment) attach(subject v1.Descriptor) (_ []*blob, err error) {
	if kind, _, err := mime.ParseMediaType(a.MediaType); err != nil || !strings.Contains(kind, "/") {
		return nil, fmt.Errorf("attachment %s: %q is not a media type, such as application/spdx+json", a.File, a.MediaType)
	}
	file, err := fileBlob(a.File, types.MediaType(a.MediaType), nil)
	if err != nil {
		return nil, err
	}
	file.Annotations = map[string]string{titleAnnotation: a.title()}
	// The empty config of image-spec 1.1.
	config := newBlob([]byte("{}"), "application/vnd.oci.empty.v1+json")
	m := newManifest(config, []*blob{file}, nil)
	m.ArtifactType = a.MediaType
	m.Subject = &v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	manifest, err := marshal(types.OCIManifestSchema1, m)
	if err != nil {
		file.close()
		return nil, err
	}
	return []*blob{file, config, manifest}, nil
}
