package e2e

import (
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/registry"
)

// refusal is how an image fails.
type refusal struct {
	// at is the step: pull, create or start. `ctr run` is one step: start.
	at string
	// says is part of its message.
	says string
	// cure is what docs/images.md says to do.
	cure string
}

// everywhere is the same outcome on every version, and from17 on all but 1.6.
func everywhere(outcome string) [4]string  { return [4]string{outcome, outcome, outcome, outcome} }
func from17(old, outcome string) [4]string { return [4]string{old, outcome, outcome, outcome} }

var refusals = map[string]refusal{
	"platform": {
		"pull", "no match for platform in manifest",
		"add `linux/<arch>` manifests to the index (`wasmctl pack`), or push the one manifest without an index",
	},
	"platform, late": {
		"start", "no match for platform in manifest",
		"the same; these versions of `ctr` pull the index alone and say nothing",
	},
	"snapshot": {
		"create", "parent snapshot",
		"pack the image for Linux, or set `use_local_image_pull = true` for CRI",
	},
	"config": {
		"start", "unknown image config media type",
		"a limit of `ctr`, not of containerd: run it in a Pod, or push the module with an OCI config",
	},
	"1.6.20": {
		"pull", "mismatched image rootfs and manifest layers",
		"a defect of containerd 1.6 up to some version before 1.6.36: use a newer one, or tar layers",
	},
	"diffs, pull": {
		"pull", "mismatched image rootfs and manifest layers",
		"leave `diff_ids` of the config empty: a module is not unpacked",
	},
	"diffs, start":  {"start", "mismatched image rootfs and manifest layers", "leave `diff_ids` of the config empty"},
	"diffs, 1.6":    {"pull", "no processor for media-type", "leave `diff_ids` of the config empty, and use a newer containerd"},
	"diffs, create": {"create", "parent snapshot", "leave `diff_ids` of the config empty"},
	"tar": {
		"pull", "invalid tar header",
		"push the layer as `application/wasm`",
	},
	"spin": {
		"start", "is a Spin application",
		"run it with a shim for Spin, or pack a WASI module",
	},
	"component": {
		"start", "is a WebAssembly component",
		"build for `wasm32-wasip1`",
	},
}

var app = []string{"/app.wasm", "args", "x"}

// shapes are the rows of the table.
var shapes = []shape{
	{
		title: "tar layers, `linux/<arch>`", name: "rootfs", command: app,
		manifests: one(func(t *testing.T) registry.Manifest { return rootFSImage(t, "rootfs", linuxHere) }),
		ctr:       everywhere(runs), cri: everywhere(runs),
	},
	{
		title: "index of `linux/amd64` and `linux/arm64` (`wasmctl pack`)", name: "rootfs-index", command: app, index: true,
		manifests: func(t *testing.T) []registry.Manifest {
			return []registry.Manifest{rootFSImage(t, "rootfs-index", linuxHere), rootFSImage(t, "rootfs-index", otherLinux)}
		},
		ctr: everywhere(runs), cri: everywhere(runs),
	},
	{
		title: "the same with a `wasip1/wasm` artifact in the index", name: "mixed-index", command: app, index: true,
		manifests: func(t *testing.T) []registry.Manifest {
			return []registry.Manifest{rootFSImage(t, "mixed-index", linuxHere), artifact(t, wasmLayer, "app.wasm")}
		},
		ctr: everywhere(runs), cri: everywhere(runs),
	},
	{
		title: "tar layers, compat annotation", name: "compat", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			m := rootFSImage(t, "compat", linuxHere)
			m.Annotations = map[string]string{"module.wasm.image/variant": "compat"}
			return m
		}),
		ctr: everywhere(runs), cri: everywhere(runs),
	},
	{
		title: "tar layers, `wasi/wasm`", name: "rootfs-wasi", command: app,
		manifests: one(func(t *testing.T) registry.Manifest { return rootFSImage(t, "rootfs-wasi", "wasi/wasm") }),
		ctr:       everywhere(runs), cri: [4]string{runs, runs, runs, "snapshot"},
	},
	{
		title: "tar layers, `wasip1/wasm`", name: "rootfs-wasip1", command: app,
		manifests: one(func(t *testing.T) registry.Manifest { return rootFSImage(t, "rootfs-wasip1", "wasip1/wasm") }),
		ctr:       everywhere(runs), cri: [4]string{runs, runs, runs, "snapshot"},
	},
	{
		title: "index of `wasi/wasm` or `wasip1/wasm` alone, tar layers", name: "rootfs-wasm-index", command: app, index: true,
		manifests: func(t *testing.T) []registry.Manifest {
			return []registry.Manifest{rootFSImage(t, "rootfs-wasm-index", "wasip1/wasm"), rootFSImage(t, "rootfs-wasm-index", "wasi/wasm")}
		},
		ctr: [4]string{"platform", "platform", "platform, late", "platform, late"}, cri: everywhere("platform"),
	},
	{
		title: "CNCF artifact (`application/wasm`)", name: "artifact", command: app,
		manifests: one(func(t *testing.T) registry.Manifest { return artifact(t, wasmLayer, "app.wasm") }),
		ctr:       from17("1.6.20", "config"), cri: from17("1.6.20", runs),
	},
	{
		title: "CNCF artifact in an index, `wasip1/wasm`", name: "artifact-index", command: app, index: true,
		manifests: one(func(t *testing.T) registry.Manifest { return artifact(t, wasmLayer, "app.wasm") }),
		ctr:       [4]string{"platform", "platform", "platform, late", "platform, late"}, cri: everywhere("platform"),
	},
	{
		title: "artifact without a config (`oras push`)", name: "oras", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			return registry.Manifest{
				Config: registry.Blob{MediaType: "application/vnd.oci.empty.v1+json", Content: []byte("{}")},
				Layers: []registry.Blob{moduleLayer(t, wasmLayer, "probe-c", "app.wasm")},
			}
		}),
		ctr: from17("1.6.20", "config"), cri: from17("1.6.20", runs),
	},
	{
		title: "OCI config, module layer of runwasi, no `diff_ids`", name: "runwasi", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			return registry.Manifest{Config: config("wasip1/wasm"), Layers: []registry.Blob{moduleLayer(t, runwasiLayer, "probe-c", "")}}
		}),
		ctr: from17("1.6.20", runs), cri: from17("1.6.20", runs),
	},
	{
		title: "the same with `diff_ids`", name: "runwasi-diffs", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			layer := moduleLayer(t, runwasiLayer, "probe-c", "")
			return registry.Manifest{Config: config("wasip1/wasm", layer), Layers: []registry.Blob{layer}}
		}),
		ctr: [4]string{"diffs, 1.6", "diffs, pull", "diffs, start", "diffs, start"},
		cri: [4]string{"diffs, 1.6", "diffs, pull", "diffs, create", "diffs, create"},
	},
	{
		title: "OCI config, layer `application/vnd.w3c.wasm.module.v1+wasm`", name: "w3c", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			return registry.Manifest{Config: config("wasi/wasm"), Layers: []registry.Blob{moduleLayer(t, w3cLayer, "probe-c", "")}}
		}),
		ctr: from17("1.6.20", runs), cri: from17("1.6.20", runs),
	},
	{
		title: "wasm-to-oci (`application/vnd.wasm.content.layer.v1+wasm`)", name: "wasm-to-oci", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			return registry.Manifest{
				Config: registry.Blob{MediaType: "application/vnd.wasm.config.v1+json", Content: []byte("{}")},
				Layers: []registry.Blob{moduleLayer(t, wasmToOCILayer, "probe-c", "")},
			}
		}),
		ctr: from17("1.6.20", "config"), cri: from17("1.6.20", runs),
	},
	{
		title: "several modules in one artifact", name: "several", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			layers := []registry.Blob{moduleLayer(t, wasmLayer, "hello-c", "hello.wasm"), moduleLayer(t, wasmLayer, "probe-c", "app.wasm")}
			return registry.Manifest{Config: artifactConfig(layers...), Layers: layers}
		}),
		ctr: from17("1.6.20", "config"), cri: from17("1.6.20", runs),
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
		ctr: from17("1.6.20", runs), cri: everywhere(runs),
	},
	{
		title: "module labelled as a tar layer", name: "mislabelled", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			layer := moduleLayer(t, tarLayer, "probe-c", "app.wasm")
			return registry.Manifest{Config: config(linuxHere, layer), Layers: []registry.Blob{layer}}
		}),
		ctr: everywhere("tar"), cri: everywhere("tar"),
	},
	{
		title: "Spin application", name: "spin", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			return registry.Manifest{
				Config: registry.Blob{MediaType: "application/vnd.fermyon.spin.application.v1+config", Content: []byte(`{"name":"app"}`)},
				Layers: []registry.Blob{moduleLayer(t, wasmToOCILayer, "probe-c", "")},
			}
		}),
		ctr: from17("1.6.20", "config"), cri: from17("1.6.20", "spin"),
	},
	{
		title: "WASI 0.2 component", name: "component", command: app,
		manifests: one(func(t *testing.T) registry.Manifest {
			layer := registry.Blob{MediaType: wasmLayer, Content: componentHeader}
			return registry.Manifest{Config: config("wasip2/wasm"), Layers: []registry.Blob{layer}}
		}),
		ctr: from17("1.6.20", "component"), cri: from17("1.6.20", "component"),
	},
}
