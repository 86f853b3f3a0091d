package image

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ModulePath is where the module lies in the image.
const ModulePath = "/app.wasm"

// DigestLabel is the label of the image's config that holds the digest of the
// module.
//
// CRI knows an image by the digest of its config. Two images with equal
// configs and different modules would be one image to it, and it would run the
// module that was pulled first.
const DigestLabel = "io.github.wasmshim.module.digest"

// Spec says what an image is to hold.
type Spec struct {
	// Shape is how; empty means Linux. Artifact takes a name, a module,
	// annotations and attachments only.
	Shape Shape
	// Name is the image's reference with or without registry and tag, such as
	// "app" or "ghcr.io/acme/app:v1". It must not have a digest.
	Name string
	// Module is the path on this machine of the Wasm core module.
	Module string
	// Files are further files for the image.
	Files []File
	// Args are the default arguments after /app.wasm, which the "args" of a
	// Pod replace.
	Args []string
	// Env is the environment as NAME=VALUE.
	Env []string
	// Workdir is the working directory, absolute; empty means "/".
	Workdir string
	// Labels go into the config.
	Labels map[string]string
	// Annotations go to the index, if there is one, and to each manifest.
	Annotations map[string]string
	// Attachments are referrers of the image, such as an SBOM.
	Attachments []Attachment
	// Platforms to write a manifest for; empty means those of the shape.
	Platforms []v1.Platform
	// Epoch is the time of every timestamp in the image, in whole seconds.
	Epoch time.Time
}

// File is a file or directory of this machine that goes into the image.
type File struct {
	// Host is its path on this machine.
	Host string
	// Guest is its absolute path in the image.
	Guest string
}

// normalise returns a copy with every default filled in, or what is wrong.
func (s Spec) normalise() (Spec, reference.NamedTagged, error) {
	ref, err := parseName(s.Name)
	if err != nil {
		return s, nil, err
	}
	for _, kv := range s.Env {
		if name, _, ok := strings.Cut(kv, "="); !ok || name == "" || strings.Contains(kv, "\x00") {
			return s, nil, fmt.Errorf("environment variable %q is not of the form NAME=VALUE", kv)
		}
	}
	if err := s.checkText(); err != nil {
		return s, nil, err
	}
	if err := s.normaliseShape(); err != nil {
		return s, nil, err
	}
	if s.Workdir == "" {
		s.Workdir = "/"
	}
	if !path.IsAbs(s.Workdir) {
		return s, nil, fmt.Errorf("working directory %q is not absolute; write /%s", s.Workdir, s.Workdir)
	}
	s.Workdir = path.Clean(s.Workdir)
	if _, ok := s.Labels[DigestLabel]; ok {
		return s, nil, fmt.Errorf("label %s is set by the packer itself; leave it out", DigestLabel)
	}
	s.Epoch = s.Epoch.UTC().Truncate(time.Second)
	return s, ref, nil
}

// checkText refuses what JSON, in which configs and manifests are written, would
// change.
func (s Spec) checkText() error {
	texts := slices.Concat(s.Env, s.Args, []string{s.Workdir})
	for _, m := range []map[string]string{s.Labels, s.Annotations} {
		for k, v := range m {
			texts = append(texts, k, v)
		}
	}
	for _, a := range s.Attachments {
		texts = append(texts, a.MediaType, a.title())
	}
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return fmt.Errorf("%q is not valid UTF-8, in which images are described; encode it so", text)
		}
	}
	return nil
}

// parseName completes a name as containerd, nerdctl and Docker do: "app" is
// docker.io/library/app:latest.
func parseName(name string) (reference.NamedTagged, error) {
	if name == "" {
		return nil, fmt.Errorf("the image needs a name, such as app:v1 or ghcr.io/acme/app:v1")
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", name, err)
	}
	if _, ok := named.(reference.Digested); ok {
		return nil, fmt.Errorf("image name %q has a digest, which is the result of packing; name it with a tag", name)
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if !ok {
		return nil, fmt.Errorf("image name %q: no tag", name)
	}
	return tagged, nil
}

// completeName completes a name for reading, which may have a digest.
func completeName(name string) (string, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", name, err)
	}
	return named.String(), nil
}
