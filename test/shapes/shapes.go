package shapes

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	"github.com/wasmshim/containerd-shim-wasm/test/registry"
)

// Guests returns a compiled guest by its name.
type Guests func(name string) []byte

// Shape is a way to put a module into an image.
type Shape struct {
	// Title is that of its row in docs/images.md.
	Title string
	// Name is that of its repository.
	Name string
	// Index: the manifests are those of an index.
	Index     bool
	Manifests func(g Guests) []registry.Manifest
	// Command is what the container runs.
	Command []string
	// Ctr and CRI are what comes of it on each of Versions: Runs, or a key of Refusals.
	Ctr, CRI [4]string
}

// Versions are containerd's in the order of Shape.Ctr and Shape.CRI.
var Versions = []string{"1.6", "1.7", "2.2", "2.4"}

// Outcome says what is wrong with how a shape ended, nil for what was wanted: at which
// step it failed and with which message, or what it printed.
func (s Shape) Outcome(want, at, message, stdout string) error {
	if want == Runs {
		const output = "0=/app.wasm\n1=args\n2=x\n"
		if at != "" || stdout != output {
			return fmt.Errorf("%s: failed at %q: %s; output %q", s.Name, at, message, stdout)
		}
		return nil
	}
	r, ok := Refusals[want]
	if !ok || at != r.At || !strings.Contains(message, r.Says) {
		return fmt.Errorf("%s: want %q %+v; failed at %q: %s; output %q", s.Name, want, r, at, message, stdout)
	}
	return nil
}

// Push puts the shape into a registry and returns its reference.
func (s Shape) Push(ctx context.Context, r *registry.Registry, g Guests) (string, error) {
	return r.Push(ctx, s.Name+":1", s.Index, s.Manifests(g)...)
}

const (
	// Runs is the outcome of a shape that does.
	Runs = "runs"

	ociConfig  = "application/vnd.oci.image.config.v1+json"
	wasmConfig = "application/vnd.wasm.config.v0+json"
	tarLayer   = "application/vnd.oci.image.layer.v1.tar"

	// WasmLayer is the media type of a module in CNCF's artifacts.
	WasmLayer      = "application/wasm"
	runwasiLayer   = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"
	w3cLayer       = "application/vnd.w3c.wasm.module.v1+wasm"
	wasmToOCILayer = "application/vnd.wasm.content.layer.v1+wasm"

	titleAnnotation = "org.opencontainers.image.title"
)

var (
	// LinuxHere is the platform of this machine.
	LinuxHere  = "linux/" + runtime.GOARCH
	otherLinux = map[string]string{"linux/amd64": "linux/arm64", "linux/arm64": "linux/amd64"}[LinuxHere]
)

func sha(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// Config is that of an image for a platform with these uncompressed layers.
func Config(platform string, layers ...registry.Blob) registry.Blob {
	var os, arch string
	for i, c := range platform {
		if c == '/' {
			os, arch = platform[:i], platform[i+1:]
		}
	}
	diffIDs := []string{}
	for _, l := range layers {
		diffIDs = append(diffIDs, sha(l.Content))
	}
	b, err := json.Marshal(map[string]any{
		"os": os, "architecture": arch,
		"config": map[string]any{"Entrypoint": []string{"/app.wasm"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	if err != nil {
		panic(err) // maps of strings marshal
	}
	return registry.Blob{MediaType: ociConfig, Content: b}
}

// artifactConfig is that of CNCF's artifacts.
func artifactConfig(layers ...registry.Blob) registry.Blob {
	digests := []string{}
	for _, l := range layers {
		digests = append(digests, sha(l.Content))
	}
	b, err := json.Marshal(map[string]any{"architecture": "wasm", "os": "wasip1", "layerDigests": digests})
	if err != nil {
		panic(err)
	}
	return registry.Blob{MediaType: wasmConfig, Content: b}
}

// RootFS is a layer with these files, by path and content in turn.
func RootFS(files ...string) registry.Blob {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o755, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}); err != nil {
			panic(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return registry.Blob{MediaType: tarLayer, Content: b.Bytes()}
}

// ModuleLayer is a guest as a layer; without a name the layer has none.
func ModuleLayer(g Guests, mediaType, guest, name string) registry.Blob {
	b := registry.Blob{MediaType: mediaType, Content: g(guest)}
	if name != "" {
		b.Annotations = map[string]string{titleAnnotation: name}
	}
	return b
}

// rootFSImage is an image for a platform with the guest as /app.wasm. Of each name
// it has another layer: the snapshot of one would do for all.
func rootFSImage(g Guests, name, platform string) registry.Manifest {
	layer := RootFS("app.wasm", string(g("probe-c")), "name", name)
	return registry.Manifest{Config: Config(platform, layer), Layers: []registry.Blob{layer}, Platform: platform}
}

// Artifact is a CNCF artifact with one module.
func Artifact(g Guests, mediaType, name string) registry.Manifest {
	layer := ModuleLayer(g, mediaType, "probe-c", name)
	return registry.Manifest{Config: artifactConfig(layer), Layers: []registry.Blob{layer}, Platform: "wasip1/wasm"}
}

// one is an image of one manifest.
func one(make func(g Guests) registry.Manifest) func(Guests) []registry.Manifest {
	return func(g Guests) []registry.Manifest { return []registry.Manifest{make(g)} }
}
