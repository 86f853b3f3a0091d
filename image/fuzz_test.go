package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// FuzzPack packs a module and a file under any names. What is packed is a layer
// that every runtime unpacks as it was meant: names in the root, parents first, no
// name twice, the module itself in its place, and a config that says what was
// asked for.
func FuzzPack(f *testing.F) {
	f.Add("app:v1", "/data/x", "/var", "A=1")
	f.Add("ghcr.io/a/b@sha256:00", "/app.wasm", "/", "A")
	f.Add("a", "/../../etc/passwd", "rel", "=")
	f.Add("localhost:5000/a/b:t", "/app.wasm/below", "/a/../b", "\x00=x")
	f.Add("A", "relative", "//", "A=\xff")
	f.Add("a/../b", "/"+strings.Repeat("long/", 80)+"x", "/data/x/y", "A=1")
	f.Add("a", "/bad\xff\n\x1b/name", "/\xfe", "A=\n")
	dir := f.TempDir()
	input, extra := filepath.Join(dir, "input.wasm"), filepath.Join(dir, "extra")
	for name, data := range map[string]string{input: module, extra: "extra"} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, name, guest, workdir, env string) {
		img, err := Pack(Spec{
			Name: name, Module: input, Files: []File{{Host: extra, Guest: guest}}, Workdir: workdir, Env: []string{env},
			Platforms: []v1.Platform{{OS: "linux", Architecture: "amd64"}}, Epoch: time.Unix(1, 0),
		})
		if err != nil {
			return
		}
		defer img.Close()
		var archive bytes.Buffer
		if err := img.WriteArchive(&archive); err != nil {
			t.Fatal(err)
		}
		blobs := files(t, &archive)
		var docker []dockerManifest
		if err := json.Unmarshal(blobs["manifest.json"], &docker); err != nil || len(docker) != 1 || len(docker[0].Layers) != 1 {
			t.Fatalf("manifest.json: %s, %v", blobs["manifest.json"], err)
		}
		var config v1.ConfigFile
		if err := json.Unmarshal(blobs[docker[0].Config], &config); err != nil {
			t.Fatal(err)
		}
		if len(config.Config.Env) != 1 || config.Config.Env[0] != env {
			t.Errorf("the environment %q became %q", env, config.Config.Env)
		}
		unpacked := layerFiles(t, blobs[docker[0].Layers[0]])
		if unpacked[ModulePath] != module {
			t.Errorf("the module is %q", unpacked[ModulePath])
		}
		if got, ok := unpacked[path.Clean(guest)]; !ok || got != "extra" {
			t.Errorf("%q holds %q: %q", guest, got, unpacked)
		}
	})
}

// files reads a tar.
func files(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for archive := tar.NewReader(r); ; {
		hdr, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		all[hdr.Name] = b
	}
}

// layerFiles unpacks a layer, as strictly as no runtime does.
func layerFiles(t *testing.T, compressed []byte) map[string]string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"/": ""}
	for archive := tar.NewReader(r); ; {
		hdr, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		name := "/" + strings.TrimSuffix(hdr.Name, "/")
		if path.Clean(name) != name || strings.HasPrefix(hdr.Name, "/") {
			t.Errorf("the layer holds %q", hdr.Name)
		}
		if _, ok := all[path.Dir(name)]; !ok {
			t.Errorf("%q comes before its directory", hdr.Name)
		}
		if _, ok := all[name]; ok {
			t.Errorf("%q comes twice", hdr.Name)
		}
		b, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
}

// FuzzOpen opens an image that anybody may have made: its manifest, its command
// and a layer. Whatever is found, nothing is left behind, nor written elsewhere.
func FuzzOpen(f *testing.F) {
	layers := [][]byte{tarLayer("app.wasm=" + module), tarLayer("l->/etc", "l/app.wasm="+module), tarLayer("../../app.wasm="+module, ".wh..wh..opq="), nil}
	for _, zipped := range layers {
		plain := must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(tarLayer())))))
		if zipped != nil {
			plain = must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(zipped)))))
		}
		f.Add([]byte(`{"config":{"mediaType":"application/vnd.oci.image.config.v1+json"}}`), plain, string(types.OCIUncompressedLayer), "/app.wasm")
		f.Add([]byte(`{"mediaType":"application/vnd.oci.image.index.v1+json"}`), plain, string(wasmLayer), "app.wasm#x")
	}
	outside := f.TempDir()
	f.Fuzz(func(t *testing.T, manifest, content []byte, mediaType, command string) {
		dir := t.TempDir()
		t.Setenv("TMPDIR", dir)
		t.Chdir(outside)
		var m v1.Manifest
		if json.Unmarshal(manifest, &m) != nil {
			return
		}
		layout := handmade(t, v1.ConfigFile{Config: v1.Config{Entrypoint: []string{command}}}, func(made *v1.Manifest) {
			made.Subject, made.MediaType, made.Config.MediaType = m.Subject, m.MediaType, m.Config.MediaType
		}, newBlob(content, types.MediaType(mediaType)))
		if images, end, err := Open(t.Context(), layout); err == nil {
			for _, img := range images {
				m, err := img.Module(t.Context())
				if err != nil {
					continue
				}
				if m.Name == "" || m.File == nil {
					t.Errorf("a module %+v", m)
				}
				m.File.Close()
			}
			if err := end(); err != nil {
				t.Error(err)
			}
		}
		for _, d := range []string{dir, outside} {
			if names, _ := filepath.Glob(d + "/wasm-image-*"); len(names) > 0 {
				t.Errorf("left behind: %v", names)
			}
		}
		if names, _ := os.ReadDir(outside); len(names) > 0 {
			t.Errorf("written outside: %v", names)
		}
	})
}
