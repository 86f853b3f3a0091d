package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// manifest returns the manifest at number i of an image, and its config as JSON.
func manifest(t *testing.T, img *Image, i int) (m v1.Manifest, config map[string]any) {
	t.Helper()
	for _, p := range []struct {
		b  *blob
		to any
	}{{img.manifests[i], &m}, {img.configs[i], &config}} {
		if err := json.NewDecoder(p.b.reader()).Decode(p.to); err != nil {
			t.Fatal(err)
		}
	}
	if m.Config.Digest != img.configs[i].Digest || m.SchemaVersion != 2 || m.MediaType != types.OCIManifestSchema1 {
		t.Errorf("manifest: %+v", m)
	}
	return m, config
}

// The layout is CNCF's: a manifest, not an index; one layer as it is; a config
// that is no container's.
func TestTheArtifact(t *testing.T) {
	img := pack(t, Spec{
		Name: "app", Shape: Artifact, Module: writeModule(t, "more"), Epoch: time.Unix(1, 0), Annotations: map[string]string{"a": "1"},
	})
	m, config := manifest(t, img, 0)
	if img.top != img.manifests[0] || m.Annotations["a"] != "1" || m.Config.MediaType != "application/vnd.wasm.config.v0+json" {
		t.Errorf("manifest: %+v", m)
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != "application/wasm" || m.Layers[0].Digest != img.Module || m.Layers[0].Annotations[titleAnnotation] != "app.wasm" {
		t.Errorf("layers: %+v", m.Layers)
	}
	if got := string(must(io.ReadAll(img.layers.blobs[0].reader()))); got != module+"more" {
		t.Errorf("the layer holds %q", got)
	}
	if want := map[string]any{
		"created": "1970-01-01T00:00:01Z", "architecture": "wasm", "os": "wasip1", "layerDigests": []any{img.Module.String()},
	}; !reflect.DeepEqual(config, want) {
		t.Errorf("config: %v", config)
	}
}

func TestTheWasiImage(t *testing.T) {
	img := pack(t, Spec{Name: "app", Shape: Wasi, Module: writeModule(t, ""), Args: []string{"x"}})
	m, config := manifest(t, img, 0)
	if img.top != img.manifests[0] || len(m.Layers) != 1 || m.Layers[0].MediaType != types.OCILayer || m.Config.MediaType != types.OCIConfigJSON {
		t.Errorf("manifest: %+v", m)
	}
	if config["os"] != "wasi" || config["architecture"] != "wasm" {
		t.Errorf("config: %v", config)
	}
}

// The module is not in the tar too, and no part of the root file system.
func TestTheHybrid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	img := pack(t, Spec{Name: "app", Shape: Hybrid, Module: writeModule(t, ""), Files: []File{{file, "/data/f"}}})
	for i := range 2 {
		m, config := manifest(t, img, i)
		if len(m.Layers) != 2 || m.Layers[0].MediaType != types.OCILayer || m.Layers[1].MediaType != "application/wasm" || m.Layers[1].Digest != img.Module {
			t.Errorf("layers: %+v", m.Layers)
		}
		if n := len(config["rootfs"].(map[string]any)["diff_ids"].([]any)); n != 1 {
			t.Errorf("%d diff IDs", n)
		}
	}
	unpacked := layerFiles(t, must(io.ReadAll(img.layers.blobs[0].reader())))
	if want := map[string]string{"/": "", "/data": "", "/data/f": "data"}; !reflect.DeepEqual(unpacked, want) {
		t.Errorf("the tar holds %q", unpacked)
	}
	if img.top.MediaType != types.OCIImageIndex {
		t.Errorf("on top is %s", img.top.MediaType)
	}
}

func TestShapesRefuse(t *testing.T) {
	ok := writeModule(t, "")
	for _, tt := range []struct {
		spec Spec
		want string
	}{
		{Spec{Shape: "spin"}, "there is no shape"},
		{Spec{Shape: Artifact, Files: []File{{ok, "/f"}}}, "cannot hold files"},
		{Spec{Shape: Artifact, Args: []string{"x"}}, "cannot hold arguments"},
		{Spec{Shape: Artifact, Env: []string{"A=1"}}, "cannot hold an environment"},
		{Spec{Shape: Artifact, Workdir: "/"}, "cannot hold a working directory"},
		{Spec{Shape: Artifact, Labels: map[string]string{"a": "1"}}, "cannot hold labels"},
		{Spec{Shape: Artifact, Platforms: DefaultPlatforms()}, "cannot hold platforms"},
		{Spec{Shape: Wasi, Platforms: DefaultPlatforms()}, "is for one platform, and 2 are given"},
		{Spec{Shape: Hybrid, Files: []File{{ok, "/app.wasm"}}}, "/app.wasm is given twice"},
		{Spec{Attachments: []Attachment{{ok, "sbom"}}}, "is not a media type"},
		{Spec{Attachments: []Attachment{{"gone", "text/plain"}}}, "no such file"},
	} {
		tt.spec.Name, tt.spec.Module = "app", ok
		if img, err := Pack(tt.spec); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v and %v, want an error with %q", tt.spec, img, err, tt.want)
		}
	}
}

func copyBlob(w io.Writer, r io.Reader) error {
	_, err := io.Copy(w, r)
	return err
}

func TestLayoutHoldsImagesByName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	entries := func() []v1.Descriptor {
		return must(must(layout.ImageIndexFromPath(dir)).IndexManifest()).Manifests
	}
	add := func(s Spec) *Image {
		t.Helper()
		img := pack(t, s)
		if err := img.WriteLayout(dir, copyBlob); err != nil {
			t.Fatal(err)
		}
		return img
	}
	first := Spec{Name: "a:v1", Module: writeModule(t, "1"), Attachments: []Attachment{{writeModule(t, "sbom"), "text/plain"}}}
	a := add(first)
	b := add(Spec{Name: "b:v1", Shape: Artifact, Module: writeModule(t, "2")})
	add(first)
	c := add(Spec{Name: "a:v1", Module: writeModule(t, "3")})
	var got []string
	for _, d := range entries() {
		got = append(got, d.Annotations[imageNameAnnotation]+" "+d.Digest.String())
	}
	want := []string{"docker.io/library/b:v1 " + b.Digest().String(), " " + a.Referrers()[0].String(), "docker.io/library/a:v1 " + c.Digest().String()}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, path := range must(filepath.Glob(dir + "/blobs/sha256/*")) {
		if h, _ := must2(v1.SHA256(must(os.Open(path)))); h.Hex != filepath.Base(path) {
			t.Errorf("blob %s has the digest %s", filepath.Base(path), h)
		}
	}
	if left := must(filepath.Glob(dir + "/blobs/sha256/.new*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestLayoutOfOthersIsNotWrittenTo(t *testing.T) {
	dir := t.TempDir()
	img := pack(t, Spec{Name: "a", Module: writeModule(t, "")})
	for _, name := range []string{"file", "oci-layout", "index.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := img.WriteLayout(dir, copyBlob)
	if err == nil || !strings.Contains(err.Error(), "is not the index") {
		t.Errorf("a damaged index: %v", err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "oci-layout")), os.Remove(filepath.Join(dir, "index.json"))); err != nil {
		t.Fatal(err)
	}
	err = img.WriteLayout(dir, copyBlob)
	if err == nil || !strings.Contains(err.Error(), "neither empty nor an OCI image layout") {
		t.Errorf("a directory with a file: %v", err)
	}
	if names := must(os.ReadDir(dir)); len(names) != 1 {
		t.Errorf("it holds %v", names)
	}
}

func TestAnInterruptedLayoutIsWhatItWas(t *testing.T) {
	dir := t.TempDir()
	if err := pack(t, Spec{Name: "a", Module: writeModule(t, "1")}).WriteLayout(dir, copyBlob); err != nil {
		t.Fatal(err)
	}
	before := must(os.ReadFile(dir + "/index.json"))
	n := 0
	err := pack(t, Spec{Name: "a", Module: writeModule(t, "2")}).WriteLayout(dir, func(w io.Writer, r io.Reader) error {
		if n++; n > 2 {
			return errors.New("interrupted")
		}
		return copyBlob(w, r)
	})
	if err == nil || !bytes.Equal(before, must(os.ReadFile(dir+"/index.json"))) {
		t.Errorf("error %v, and the index has changed", err)
	}
}
