package image

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Shape is a way in which an image holds a module.
type Shape string

// Shapes of images.
const (
	// Linux is an index of Linux images that share a tar layer with the module
	// and the files. It runs wherever Linux images run.
	Linux Shape = "linux"
	// Wasi is one image of the platform wasi/wasm with such a layer, as Docker
	// and buildx make it.
	Wasi Shape = "wasi"
	// Artifact is the Wasm OCI artifact of CNCF's TAG Runtime: the module as it
	// is, and a config that says nothing but the digest of it.
	Artifact Shape = "artifact"
	// Hybrid is an index of Linux images with the files in a tar layer and the
	// module as a layer of its own, which tools for artifacts find.
	Hybrid Shape = "hybrid"
)

// Shapes returns all of them, the recommended one first.
func Shapes() []Shape { return []Shape{Linux, Wasi, Artifact, Hybrid} }

// Media types of Wasm in OCI (CNCF TAG Runtime, "Wasm OCI Artifact Layout").
const (
	wasmConfig types.MediaType = "application/vnd.wasm.config.v0+json"
	wasmLayer  types.MediaType = "application/wasm"
)

// DefaultPlatforms returns the platforms of a Linux image when none are given. A
// module runs on any of them; a node only pulls an image that names its own.
func DefaultPlatforms() []v1.Platform {
	return []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
}

// normaliseShape fills in the shape and its platforms, and refuses what the
// shape has no place for.
func (s *Spec) normaliseShape() error {
	switch s.Shape {
	case "":
		s.Shape = Linux
	case Linux, Wasi, Artifact, Hybrid:
	default:
		return fmt.Errorf("there is no shape %q; take one of %v", s.Shape, Shapes())
	}
	if s.Shape == Artifact {
		return s.normaliseArtifact()
	}
	if len(s.Platforms) == 0 {
		s.Platforms = DefaultPlatforms()
		if s.Shape == Wasi {
			s.Platforms = []v1.Platform{{OS: "wasi", Architecture: "wasm"}}
		}
	}
	seen := map[string]bool{}
	for _, p := range s.Platforms {
		if p.OS == "" || p.Architecture == "" {
			return fmt.Errorf("platform %q is not of the form OS/ARCHITECTURE", p.String())
		}
		if seen[p.String()] {
			return fmt.Errorf("platform %s is given twice", p.String())
		}
		seen[p.String()] = true
	}
	// In an index containerd would not find it.
	if s.Shape == Wasi && len(s.Platforms) > 1 {
		return fmt.Errorf("an image of the shape %s is for one platform, and %d are given; take the shape %s for several", Wasi, len(s.Platforms), Linux)
	}
	return nil
}

// normaliseArtifact refuses what the artifact's config, which is not that of a
// container, cannot say.
func (s *Spec) normaliseArtifact() error {
	for _, refused := range []struct {
		what  string
		given bool
	}{
		{"files", len(s.Files) > 0},
		{"arguments", len(s.Args) > 0},
		{"an environment", len(s.Env) > 0},
		{"a working directory", s.Workdir != ""},
		{"labels", len(s.Labels) > 0},
		{"platforms", len(s.Platforms) > 0},
	} {
		if refused.given {
			return fmt.Errorf("a Wasm artifact holds a module and cannot hold %s; take the shape %s, or set it where the container is made", refused.what, Linux)
		}
	}
	return nil
}
