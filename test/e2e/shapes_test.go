package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/registry"
)

// shape is a way to put a module into an image.
type shape struct {
	// title is that of its row in docs/images.md.
	title string
	// name is that of its repository.
	name string
	// index: the manifests are those of an index.
	index     bool
	manifests func(t *testing.T) []registry.Manifest
	// command is what the container runs.
	command []string
	// ctr and cri are what comes of it on containerd 1.6, 1.7, 2.2 and 2.4: runs,
	// or a key of refusals.
	ctr, cri [4]string
}

const (
	runs = "runs"

	ociConfig  = "application/vnd.oci.image.config.v1+json"
	wasmConfig = "application/vnd.wasm.config.v0+json"
	tarLayer   = "application/vnd.oci.image.layer.v1.tar"

	wasmLayer      = "application/wasm"
	runwasiLayer   = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"
	w3cLayer       = "application/vnd.w3c.wasm.module.v1+wasm"
	wasmToOCILayer = "application/vnd.wasm.content.layer.v1+wasm"

	titleAnnotation = "org.opencontainers.image.title"
)

var (
	linuxHere  = "linux/" + runtime.GOARCH
	otherLinux = map[string]string{"linux/amd64": "linux/arm64", "linux/arm64": "linux/amd64"}[linuxHere]
)

func sha(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// config is that of an image for a platform with these uncompressed layers.
func config(platform string, layers ...registry.Blob) registry.Blob {
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

// rootFS is a layer with these files, by path and content in turn.
func rootFS(files ...string) registry.Blob {
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

// moduleLayer is a guest as a layer; without a name the layer has none.
func moduleLayer(t *testing.T, mediaType, guest, name string) registry.Blob {
	t.Helper()
	b := registry.Blob{MediaType: mediaType, Content: guestBinary(t, guest)}
	if name != "" {
		b.Annotations = map[string]string{titleAnnotation: name}
	}
	return b
}

// rootFSImage is an image for a platform with the guest as /app.wasm. Of each name
// it has another layer: the snapshot of one would do for all.
func rootFSImage(t *testing.T, name, platform string) registry.Manifest {
	t.Helper()
	layer := rootFS("app.wasm", string(guestBinary(t, "probe-c")), "name", name)
	return registry.Manifest{Config: config(platform, layer), Layers: []registry.Blob{layer}, Platform: platform}
}

// artifact is a CNCF artifact with one module.
func artifact(t *testing.T, mediaType, name string) registry.Manifest {
	t.Helper()
	layer := moduleLayer(t, mediaType, "probe-c", name)
	return registry.Manifest{Config: artifactConfig(layer), Layers: []registry.Blob{layer}, Platform: "wasip1/wasm"}
}

// one is an image of one manifest.
func one(make func(t *testing.T) registry.Manifest) func(*testing.T) []registry.Manifest {
	return func(t *testing.T) []registry.Manifest { return []registry.Manifest{make(t)} }
}
