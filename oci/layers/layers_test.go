package layers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// blobs is a content.Provider of what was put into it.
type blobs map[digest.Digest][]byte

type blobReader struct{ *bytes.Reader }

func (blobReader) Close() error { return nil }

func (b blobs) ReaderAt(_ context.Context, d ocispec.Descriptor) (content.ReaderAt, error) {
	c, ok := b[d.Digest]
	if !ok {
		return nil, fmt.Errorf("content %s: %w", d.Digest, errdefs.ErrNotFound)
	}
	return blobReader{bytes.NewReader(c)}, nil
}

func (b blobs) put(mediaType string, c []byte) ocispec.Descriptor {
	d := digest.FromBytes(c)
	b[d] = c
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(c))}
}

func (b blobs) putJSON(mediaType string, v any) ocispec.Descriptor {
	c, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b.put(mediaType, c)
}

// core is a core module that differs by its name.
func core(name string) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00\x00"+string(rune(len(name)+1))+string(rune(len(name)))), name...)
}

const wasmConfig = "application/vnd.wasm.config.v0+json"

// manifest puts one of these layers, each of which is "TYPE" or "TYPE NAME".
func (b blobs) manifest(config string, layers ...string) ocispec.Descriptor {
	m := ocispec.Manifest{Config: b.put(config, []byte("{}")), Layers: []ocispec.Descriptor{}}
	m.SchemaVersion = 2
	for _, l := range layers {
		mediaType, name, _ := strings.Cut(l, " ")
		d := b.put(mediaType, core(name))
		if name != "" {
			d.Annotations = map[string]string{ocispec.AnnotationTitle: name}
		}
		m.Layers = append(m.Layers, d)
	}
	return b.putJSON(ocispec.MediaTypeImageManifest, m)
}

// index puts one of manifests with platforms such as "linux/amd64", or "" for
// none.
func (b blobs) index(entries ...any) ocispec.Descriptor {
	var i ocispec.Index
	i.SchemaVersion = 2
	for n := 0; n < len(entries); n += 2 {
		d := entries[n+1].(ocispec.Descriptor)
		if os, arch, ok := strings.Cut(entries[n].(string), "/"); ok {
			d.Platform = &ocispec.Platform{OS: os, Architecture: arch}
		}
		i.Manifests = append(i.Manifests, d)
	}
	return b.putJSON(ocispec.MediaTypeImageIndex, i)
}

func wantError(t *testing.T, err error, class control.Class, part string) {
	t.Helper()
	e, ok := errors.AsType[*control.Error](err)
	if !ok || e.Class != class || !strings.Contains(e.Message, part) {
		t.Errorf("got %v, want %s with %q", err, class, part)
	}
}

func TestEveryTypeOfModuleIsFound(t *testing.T) {
	for mediaType := range moduleTypes {
		b := blobs{}
		for _, config := range []string{wasmConfig, ocispec.MediaTypeImageConfig, ocispec.MediaTypeEmptyJSON} {
			image, err := Read(t.Context(), b, b.manifest(config, mediaType+" app.wasm"))
			if err != nil || len(image.Modules) != 1 || image.Modules[0].Name != "app.wasm" || image.RootFS {
				t.Errorf("%s under %s: %+v, %v", mediaType, config, image, err)
			}
		}
	}
}

func TestHybridHasBoth(t *testing.T) {
	b := blobs{}
	image, err := Read(t.Context(), b, b.manifest(ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayerGzip, "application/wasm app.wasm"))
	if err != nil || !image.RootFS || len(image.Modules) != 1 {
		t.Errorf("%+v, %v", image, err)
	}
	image, err = Read(t.Context(), b, b.manifest(ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayer))
	if err != nil || !image.RootFS || len(image.Modules) != 0 {
		t.Errorf("an image without modules: %+v, %v", image, err)
	}
}

func TestIndexPrefersWasm(t *testing.T) {
	here := "linux/" + runtime.GOARCH
	other := "linux/s390x"
	b := blobs{}
	module := func(name string) ocispec.Descriptor { return b.manifest(wasmConfig, "application/wasm "+name) }
	plain := b.manifest(ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayer)
	absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("absent"), Size: 9}
	for _, test := range []struct {
		entries []any
		want    string // of the only module; empty is none
	}{
		{[]any{here, module("linux"), "wasi/wasm", module("wasi"), "wasip1/wasm", module("wasip1")}, "wasip1"},
		{[]any{here, module("linux"), "wasi/wasm", module("wasi")}, "wasi"},
		{[]any{other, module("other"), here, module("linux")}, "linux"},
		{[]any{"", module("none"), here, module("linux")}, "linux"},
		{[]any{"", module("none"), other, module("other")}, "none"},
		// Daemons fetch what is for the node's platform.
		{[]any{"wasip1/wasm", absent, here, module("linux")}, "linux"},
		// Other manifests are not asked when one has no modules, but the best with modules wins.
		{[]any{"wasip1/wasm", plain, here, module("linux")}, "linux"},
		{[]any{here, plain}, ""},
		{[]any{"", b.index("wasip1/wasm", module("nested"))}, "nested"},
	} {
		image, err := Read(t.Context(), b, b.index(test.entries...))
		if err != nil {
			t.Errorf("want %q: %v", test.want, err)
			continue
		}
		got := ""
		if len(image.Modules) == 1 {
			got = image.Modules[0].Name
		}
		if got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
	_, err := Read(t.Context(), b, b.index(other, module("other"), "wasip1/wasm", absent))
	wantError(t, err, control.NotFound, "has no manifest for wasip1/wasm")
}

func TestRefusedImages(t *testing.T) {
	b := blobs{}
	deep := b.manifest(wasmConfig, "application/wasm")
	for range maxDepth + 2 {
		deep = b.index("", deep)
	}
	huge := make([]string, maxLayers+1)
	for i := range huge {
		huge[i] = "application/wasm"
	}
	damaged := b.put(ocispec.MediaTypeImageManifest, []byte(`{"layers":[]}`))
	b[damaged.Digest] = []byte(`{"layers":{}}`)
	for part, target := range map[string]ocispec.Descriptor{
		"Spin application":              b.manifest("application/vnd.fermyon.spin.application.v1+config", "application/vnd.wasm.content.layer.v1+wasm"),
		"wasmCloud component":           b.manifest("application/vnd.wasmcloud.actor.archive.config", "application/vnd.module.wasm.content.layer.v1+wasm"),
		"a form of Wasm":                b.manifest(wasmConfig, "application/wasm+gzip"),
		"neither a root file system":    b.manifest("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
		"indexes in indexes":            deep,
		"more than 1024":                b.manifest(wasmConfig, huge...),
		"a manifest and an index":       b.put(ocispec.MediaTypeImageIndex, []byte(`{"manifests":[],"layers":[]}`)),
		"neither an image manifest":     b.put(ocispec.MediaTypeImageManifest, []byte(`[]`)),
		"its content has another":       damaged,
		"manifest of the image has the": {Digest: "sha256:beef"},
		"a layer of the image has the":  b.put(ocispec.MediaTypeImageManifest, []byte(`{"layers":[{"mediaType":"application/wasm","digest":"none"}]}`)),
		"than the 4194304 that registr": b.put(ocispec.MediaTypeImageManifest, make([]byte, maxManifest+1)),
		"which is no image":             b.put("application/vnd.docker.distribution.manifest.v1+json", []byte(`{}`)),
	} {
		_, err := Read(t.Context(), b, target)
		wantError(t, err, control.InvalidArgument, part)
	}
	_, err := Read(t.Context(), b, ocispec.Descriptor{Digest: digest.FromString("absent")})
	wantError(t, err, control.NotFound, "pull the image again")
}

func TestModuleIsChosenByArgs(t *testing.T) {
	b := blobs{}
	for _, test := range []struct {
		modules  []string
		readings []string
		want     string // or a part of the error
		reading  int
	}{
		{[]string{"app.wasm"}, nil, "app.wasm", 0},
		{[]string{""}, nil, "", 0},
		{[]string{"a.wasm", "b.wasm"}, nil, `several modules: "a.wasm", "b.wasm"`, 0},
		{[]string{"a.wasm", "b.wasm"}, []string{"b.wasm"}, "b.wasm", 0},
		{[]string{"a.wasm", "b.wasm"}, []string{"/b.wasm"}, "b.wasm", 0},
		{[]string{"a.wasm", "b.wasm"}, []string{"b"}, "b.wasm", 0},
		{[]string{"out/a.wasm", "out/b.wasm"}, []string{"./b.wasm"}, "out/b.wasm", 0},
		{[]string{"x/a.wasm", "y/a.wasm"}, []string{"y/a.wasm"}, "y/a.wasm", 0},
		{[]string{"x/a.wasm", "y/a.wasm"}, []string{"a.wasm"}, "means several", 0},
		{[]string{"a.wasm", "a"}, []string{"a"}, "a", 0},
		{[]string{"a.wasm", "b.wasm"}, []string{"a.wasm#run", "a.wasm"}, "a.wasm", 1},
		{[]string{"a#b.wasm", "a"}, []string{"a#b.wasm", "a"}, "has two candidates", 0},
		{[]string{"a.wasm", ""}, []string{"c"}, "neither in the root file system", 0},
		{[]string{"a.wasm"}, []string{"sh"}, "neither in the root file system", 0},
		{[]string{""}, []string{"anything#run", "anything"}, "", 1},
		{[]string{""}, []string{"anything"}, "", 0},
		{nil, []string{"anything"}, "has no Wasm module", 0},
	} {
		layers := []string{ocispec.MediaTypeImageLayer}
		for _, m := range test.modules {
			layers = append(layers, strings.TrimSpace("application/wasm "+m))
		}
		image, err := Read(t.Context(), b, b.manifest(wasmConfig, layers...))
		if err != nil {
			t.Fatal(err)
		}
		m, reading, err := image.Choose(test.readings...)
		switch {
		case err != nil && (test.want == "" || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%q of %q: %v", test.readings, test.modules, err)
		case err == nil && (m.Name != test.want || reading != test.reading):
			t.Errorf("%q of %q: %q by reading %d", test.readings, test.modules, m.Name, reading)
		}
	}
}

func TestCopyVerifies(t *testing.T) {
	ctx := t.Context()
	b := blobs{}
	good := core("custom section")
	big := append([]byte("\x00asm\x01\x00\x00\x00"), make([]byte, 3<<20)...)
	for _, c := range [][]byte{good, big} {
		var got bytes.Buffer
		m := Module{Descriptor: b.put("application/wasm", c)}
		if err := m.CopyTo(ctx, &got, b); err != nil || !bytes.Equal(got.Bytes(), c) {
			t.Errorf("copied %d bytes of %d: %v", got.Len(), len(c), err)
		}
	}
	damaged := Module{Descriptor: b.put("application/wasm", bytes.Clone(big))}
	b[damaged.Digest][2<<20] = 1
	wantError(t, damaged.CopyTo(ctx, io.Discard, b), control.InvalidArgument, "was damaged")
	short := Module{Descriptor: b.put("application/wasm", good), Name: "a\nb"}
	short.Size++
	wantError(t, short.CopyTo(ctx, io.Discard, b), control.InvalidArgument, "its manifest says")
	for part, c := range map[string]string{
		"WebAssembly component": "\x00asm\x0d\x00\x01\x00", "a gzip file": "\x1f\x8b", "ELF": "\x7fELF", "an empty file": "",
	} {
		m := Module{Descriptor: b.put("application/wasm", []byte(c))}
		wantError(t, m.CopyTo(ctx, io.Discard, b), control.InvalidArgument, part)
	}
	wantError(t, Module{Descriptor: ocispec.Descriptor{Digest: digest.FromString("absent")}}.CopyTo(ctx, io.Discard, b), control.NotFound, "pull the image again")
	wantError(t, Module{Descriptor: ocispec.Descriptor{Digest: digest.Digest("sha512:" + strings.Repeat("0", 128))}}.CopyTo(ctx, io.Discard, b), control.InvalidArgument, "SHA-256")
	wantError(t, Module{Descriptor: ocispec.Descriptor{Digest: "no digest"}}.CopyTo(ctx, io.Discard, b), control.InvalidArgument, "has the digest")
}
