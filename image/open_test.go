package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// moduleOf returns the name and the content of an image's module.
func moduleOf(t *testing.T, img *Opened) (name, content string) {
	t.Helper()
	m, err := img.Module(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer m.File.Close()
	return m.Name, string(must(io.ReadAll(m.File)))
}

func TestWhatIsPackedIsFoundWhereverItLies(t *testing.T) {
	r := newTestRegistry(t)
	for _, shape := range Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			img := pack(t, Spec{
				Name: r.host + "/acme/app:v1", Shape: shape, Module: writeModule(t, string(shape)), Attachments: []Attachment{{writeModule(t, ""), "text/plain"}},
			})
			if shape == Artifact || shape == Wasi {
				if img.top.MediaType.IsIndex() {
					t.Errorf("it is an index")
				}
			}
			dir := filepath.Join(t.TempDir(), "layout")
			file := filepath.Join(t.TempDir(), "app.tar")
			f := must(os.Create(file))
			if err := errors.Join(img.WriteArchive(f), f.Close(), img.WriteLayout(dir, copyBlob), img.Push(t.Context(), r.Registry, nil)); err != nil {
				t.Fatal(err)
			}
			opened := []*Opened{must(r.Open(t.Context(), img.Name.String())), must(r.Open(t.Context(), img.Name.Name()+"@"+img.Digest().String()))}
			for _, path := range []string{dir, file} {
				images, end, err := Open(t.Context(), path)
				if err != nil || len(images) != 1 {
					t.Fatalf("%s holds %d images: %v", path, len(images), err)
				}
				defer end()
				opened = append(opened, images...)
			}
			for _, o := range opened {
				if o.Digest != img.Digest() || !strings.HasPrefix(o.Name, r.host+"/acme/app") {
					t.Errorf("opened is %s %s", o.Name, o.Digest)
				}
				if shape == Linux || shape == Hybrid {
					if o.Platform != "linux/"+runtime.GOARCH {
						t.Errorf("the platform is %s", o.Platform)
					}
				}
				name, content := moduleOf(t, o)
				want := "/app.wasm"
				if shape == Artifact || shape == Hybrid {
					want = "app.wasm"
				}
				if name != want || content != module+string(shape) {
					t.Errorf("it holds %q %q", name, content)
				}
			}
		})
	}
}

// tarLayer is a layer of entries such as "app.wasm=content", "dir/",
// "link->target" and ".wh.name=".
func tarLayer(entries ...string) []byte {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for _, e := range entries {
		hdr := &tar.Header{Name: e, Typeflag: tar.TypeDir, Mode: 0}
		var content string
		if name, target, ok := strings.Cut(e, "->"); ok {
			hdr.Name, hdr.Linkname, hdr.Typeflag = name, target, tar.TypeSymlink
		} else if name, text, ok := strings.Cut(e, "="); ok {
			content = text
			hdr.Name, hdr.Typeflag, hdr.Size = name, tar.TypeReg, int64(len(text))
		}
		if err := w.WriteHeader(hdr); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			panic(err)
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// handmade writes a layout with one image, of which the descriptors may lie.
func handmade(t *testing.T, config v1.ConfigFile, change func(m *v1.Manifest), layers ...*blob) string {
	t.Helper()
	dir := t.TempDir()
	c := must(marshal(types.OCIConfigJSON, config))
	m := newManifest(c, layers, nil)
	if change != nil {
		change(&m)
	}
	top := must(marshal(types.OCIManifestSchema1, m))
	index := must(marshal(indexType, v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{top.Descriptor}}))
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, b *blob) {
		if err := os.WriteFile(filepath.Join(dir, name), must(io.ReadAll(b.reader())), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(indexFile, index)
	for _, b := range append(layers, c, top) {
		write(blobPath(b.Digest), b)
	}
	return dir
}

func tarBlob(entries ...string) *blob { return newBlob(tarLayer(entries...), types.OCILayer) }

func command(args ...string) v1.ConfigFile {
	return v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{Entrypoint: args, Env: []string{"PATH=/bin"}}}
}

func TestTheModuleIsWhatTheCommandNamesInTheUnpackedLayers(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	for _, tt := range []struct {
		name   string
		args   []string
		layers []*blob
		want   string // content of the module, or a part of the error
	}{
		{"a file", []string{"/app.wasm"}, []*blob{tarBlob("app.wasm=" + module + "1")}, module + "1"},
		{"of a later layer", []string{"/app.wasm"}, []*blob{tarBlob("app.wasm=" + module + "1"), tarBlob("app.wasm=" + module + "2")}, module + "2"},
		{"that is whited out", []string{"/app.wasm"}, []*blob{tarBlob("app.wasm=" + module), tarBlob(".wh.app.wasm=")}, "/app.wasm does not exist"},
		{"below an opaque directory", []string{"/d/a.wasm"}, []*blob{tarBlob("d/", "d/a.wasm="+module), tarBlob("d/", "d/.wh..wh..opq=")}, "does not exist"},
		{"behind a link that is absolute in the image", []string{"/lib/a.wasm"}, []*blob{tarBlob("usr/", "lib->/usr", "usr/a.wasm="+module)}, module},
		{"in PATH", []string{"a"}, []*blob{tarBlob("bin/", "bin/a="+module)}, module},
		{"behind a link out of the image", []string{"/link/a.wasm"}, []*blob{tarBlob("link->" + outside), tarBlob("link/a.wasm=" + module)}, module},
		{"that climbs", []string{"/a.wasm"}, []*blob{tarBlob("../../../a.wasm=" + module)}, module},
		{"that is native", []string{"/sh"}, []*blob{tarBlob("sh=\x7fELF")}, "a container of this image is native"},
		{"that is a component", []string{"/a.wasm"}, []*blob{tarBlob("a.wasm=\x00asm\x0d\x00\x01\x00")}, "is a WebAssembly component"},
		{"without a command", nil, []*blob{tarBlob("a.wasm="+module, "b.wasm="+module)}, "several candidates"},
		{"a layer of its own", nil, []*blob{newBlob([]byte(module+"own"), "application/vnd.w3c.wasm.module.v1+wasm")}, module + "own"},
		{"no module", nil, []*blob{newBlob([]byte("x"), "application/x")}, "holds neither a root file system nor a Wasm module"},
		{"a layer that is no gzip", []string{"/a"}, []*blob{newBlob([]byte("x"), types.OCILayer)}, "unpack layer sha256:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			images, end, err := Open(t.Context(), handmade(t, command(tt.args...), nil, tt.layers...))
			if err != nil {
				t.Fatal(err)
			}
			defer end()
			m, err := images[0].Module(t.Context())
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = string(must(io.ReadAll(m.File)))
				m.File.Close()
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if _, err := os.Lstat(outside); err == nil {
				t.Error("something was written outside")
			}
		})
	}
}

func TestDescriptorsThatLieAreRefused(t *testing.T) {
	l := tarBlob("a.wasm=" + module)
	for _, tt := range []struct {
		name   string
		change func(m *v1.Manifest)
		want   string
	}{
		{"a shorter layer", func(m *v1.Manifest) { m.Layers[0].Size-- }, "is damaged"},
		{"a longer layer", func(m *v1.Manifest) { m.Layers[0].Size++ }, "is damaged"},
		{"a layer of another digest", func(m *v1.Manifest) { m.Layers[0].Digest = m.Config.Digest; m.Layers[0].MediaType = wasmLayer }, "push the image again"},
		{"a digest out of the layout", func(m *v1.Manifest) {
			m.Layers[0].Digest = v1.Hash{Algorithm: "sha256", Hex: "../../../../etc/passwd"}
		}, "non-hex character"},
		{"another algorithm", func(m *v1.Manifest) { m.Layers[0].Digest.Algorithm = "sha512" }, ""},
		{"a huge config", func(m *v1.Manifest) { m.Config.Size = 1 << 40 }, "has 1048576 MiB"},
		{"a huge module", func(m *v1.Manifest) { m.Layers[0].Size, m.Layers[0].MediaType = 1<<40, wasmLayer }, "more than the 512 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			images, end, err := Open(t.Context(), handmade(t, command("/a.wasm"), tt.change, l))
			if err == nil {
				defer end()
				_, err = images[0].Module(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestAnIndexWithoutTheNodesPlatform(t *testing.T) {
	img := pack(t, Spec{Name: "a", Module: writeModule(t, ""), Platforms: []v1.Platform{{OS: "wasi", Architecture: "wasm"}}})
	dir := t.TempDir()
	if err := img.WriteLayout(dir, copyBlob); err != nil {
		t.Fatal(err)
	}
	_, _, err := Open(t.Context(), dir)
	if want := "has no manifest for linux/" + runtime.GOARCH + ", only for [wasi/wasm]"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
}

func TestWhatIsNoLayoutIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	link := t.TempDir()
	if err := os.Symlink(file, filepath.Join(link, indexFile)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: "is not an OCI image layout", file: "not an OCI image layout in a tar", link: "escapes", dir + "/gone": "no such file"} {
		if _, _, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", path, err, want)
		}
	}
}
