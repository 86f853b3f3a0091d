package e2e

import (
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/registry"
)

// refusal is how an image fails.
type refusal struct {
	// at is the step: pull, create or start (of `ctr run` both are one step).
	at string
	// says is part of its message.
	says string
	// cure is what docs/images.md says to do.
	cure string
}

var everywhere = [4]string{runs, runs, runs, runs}

// on is the same outcome on every version.
func on(outcome string) [4]string { return [4]string{outcome, outcome, outcome, outcome} }

var refusals = map[string]refusal{}

var app = []string{"/app.wasm", "args", "x"}

// shapes are the rows of the table.
var shapes = []shape{
	{
		title: "tar layers, `linux/<arch>`", name: "rootfs", command: app,
		manifests: one(func(t *testing.T) registry.Manifest { return rootFSImage(t, linuxHere) }),
		ctr:       everywhere, cri: everywhere,
	},
	{
		title: "index of `linux/amd64` and `linux/arm64` (`wasmctl pack`)", name: "rootfs-index", command: app, index: true,
		manifests: func(t *testing.T) []registry.Manifest {
			return []registry.Manifest{rootFSImage(t, linuxHere), rootFSImage(t, otherLinux)}
		},
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "the same with a `wasip1/wasm` artifact in the index", name: "mixed-index", command: app, index: true,
		manifests: func(t *testing.T) []registry.Manifest {
			return []registry.Manifest{rootFSImage(t, linuxHere), artifact(t, wasmLayer, "app.wasm")}
		},
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "tar layers, compat annotation", name: "compat", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			m := rootFSImage(t, linuxHere)
			m.Annotations = map[string]string{"module.wasm.image/variant": "compat"}
			return m
		}),
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "tar layers, `wasi/wasm`", name: "rootfs-wasi", command: app,
		manifests: one(func(t *testing.T) registry.Manifest { return rootFSImage(t, "wasi/wasm") }),
		ctr:       everywhere, cri: everywhere,
	},
	{
		title: "tar layers, `wasip1/wasm`", name: "rootfs-wasip1", command: app,
		manifests: one(func(t *testing.T) registry.Manifest { return rootFSImage(t, "wasip1/wasm") }),
		ctr:       everywhere, cri: everywhere,
	},
	{
		title: "index of `wasi/wasm` or `wasip1/wasm` alone, tar layers", name: "rootfs-wasm-index", command: app, index: true,
		manifests: func(t *testing.T) []registry.Manifest {
			return []registry.Manifest{rootFSImage(t, "wasip1/wasm"), rootFSImage(t, "wasi/wasm")}
		},
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "CNCF artifact (`application/wasm`)", name: "artifact", command: app,
		manifests: one(func(t *testing.T) registry.Manifest { return artifact(t, wasmLayer, "app.wasm") }),
		ctr:       everywhere, cri: everywhere,
	},
	{
		title: "CNCF artifact in an index, `wasip1/wasm`", name: "artifact-index", command: app, index: true,
		manifests: one(func(t *testing.T) registry.Manifest { return artifact(t, wasmLayer, "app.wasm") }),
		ctr:       everywhere, cri: everywhere,
	},
	{
		title: "artifact without a config (`oras push`)", name: "oras", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			return registry.Manifest{
				Config: registry.Blob{MediaType: "application/vnd.oci.empty.v1+json", Content: []byte("{}")},
				Layers: []registry.Blob{moduleLayer(t, wasmLayer, "probe-c", "app.wasm")},
			}
		}),
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "OCI config, module layer of runwasi, no `diff_ids`", name: "runwasi", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			return registry.Manifest{Config: config("wasip1/wasm"), Layers: []registry.Blob{moduleLayer(t, runwasiLayer, "probe-c", "")}}
		}),
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "the same with `diff_ids`", name: "runwasi-diffs", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			layer := moduleLayer(t, runwasiLayer, "probe-c", "")
			return registry.Manifest{Config: config("wasip1/wasm", layer), Layers: []registry.Blob{layer}}
		}),
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "OCI config, layer `application/vnd.w3c.wasm.module.v1+wasm`", name: "w3c", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			return registry.Manifest{Config: config("wasi/wasm"), Layers: []registry.Blob{moduleLayer(t, w3cLayer, "probe-c", "")}}
		}),
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "wasm-to-oci (`application/vnd.wasm.content.layer.v1+wasm`)", name: "wasm-to-oci", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			return registry.Manifest{
				Config: registry.Blob{MediaType: "application/vnd.wasm.config.v1+json", Content: []byte("{}")},
				Layers: []registry.Blob{moduleLayer(t, wasmToOCILayer, "probe-c", "")},
			}
		}),
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "several modules in one artifact", name: "several", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			layers := []registry.Blob{moduleLayer(t, wasmLayer, "hello-c", "hello.wasm"), moduleLayer(t, wasmLayer, "probe-c", "app.wasm")}
			return registry.Manifest{Config: artifactConfig(layers...), Layers: layers}
		}),
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "tar layers, `linux/<arch>`, and a module layer", name: "hybrid", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			files := rootFS("etc/data", "data")
			return registry.Manifest{
				Config: config(linuxHere, files),
				Layers: []registry.Blob{files, moduleLayer(t, wasmLayer, "probe-c", "app.wasm")},
			}
		}),
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "module labelled as a tar layer", name: "mislabelled", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			layer := moduleLayer(t, tarLayer, "probe-c", "app.wasm")
			return registry.Manifest{Config: config(linuxHere, layer), Layers: []registry.Blob{layer}}
		}),
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "Spin application", name: "spin", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			return registry.Manifest{
				Config: registry.Blob{MediaType: "application/vnd.fermyon.spin.application.v1+config", Content: []byte(`{"name":"app"}`)},
				Layers: []registry.Blob{moduleLayer(t, wasmToOCILayer, "probe-c", "")},
			}
		}),
		ctr: everywhere, cri: everywhere,
	},
	{
		title: "WASI 0.2 component", name: "component", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			layer := registry.Blob{MediaType: wasmLayer, Content: componentHeader}
			return registry.Manifest{Config: config("wasip2/wasm"), Layers: []registry.Blob{layer}}
		}),
		ctr: everywhere, cri: everywhere,
	},
}
