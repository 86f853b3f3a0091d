// Package shapes has the forms of images that the project knows, with what becomes of
// each on every containerd, as data: tests push them to a registry and run them, and
// docs/images.md shows them.
package shapes

import (
	"github.com/wasmshim/containerd-shim-wasm/test/registry"
)

// Refusal is how an image fails.
type Refusal struct {
	// At is the step: pull, create or start. `ctr run` is one step: start.
	At string
	// Says is part of its message.
	Says string
	// Cure is what docs/images.md says to do.
	Cure string
}

// everywhere is the same outcome on every version, and from17 on all but 1.6.
func everywhere(outcome string) [4]string  { return [4]string{outcome, outcome, outcome, outcome} }
func from17(old, outcome string) [4]string { return [4]string{old, outcome, outcome, outcome} }

// Refusals are by what the shapes call them.
var Refusals = map[string]Refusal{
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

// App is the command of every shape.
var App = []string{"/app.wasm", "args", "x"}

// All are the rows of the table in docs/images.md.
var All = []Shape{
	{
		Title: "tar layers, `linux/<arch>`", Name: "rootfs", Command: App,
		Manifests: one(func(g Guests) registry.Manifest { return rootFSImage(g, "rootfs", LinuxHere) }),
		Ctr:       everywhere(Runs), CRI: everywhere(Runs),
	},
	{
		Title: "index of `linux/amd64` and `linux/arm64` (`wasmctl pack`)", Name: "rootfs-index", Command: App, Index: true,
		Manifests: func(g Guests) []registry.Manifest {
			return []registry.Manifest{rootFSImage(g, "rootfs-index", LinuxHere), rootFSImage(g, "rootfs-index", otherLinux)}
		},
		Ctr: everywhere(Runs), CRI: everywhere(Runs),
	},
	{
		Title: "the same with a `wasip1/wasm` artifact in the index", Name: "mixed-index", Command: App, Index: true,
		Manifests: func(g Guests) []registry.Manifest {
			return []registry.Manifest{rootFSImage(g, "mixed-index", LinuxHere), Artifact(g, WasmLayer, "app.wasm")}
		},
		Ctr: everywhere(Runs), CRI: everywhere(Runs),
	},
	{
		Title: "tar layers, compat annotation", Name: "compat", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			m := rootFSImage(g, "compat", LinuxHere)
			m.Annotations = map[string]string{"module.wasm.image/variant": "compat"}
			return m
		}),
		Ctr: everywhere(Runs), CRI: everywhere(Runs),
	},
	{
		Title: "tar layers, `wasi/wasm`", Name: "rootfs-wasi", Command: App,
		Manifests: one(func(g Guests) registry.Manifest { return rootFSImage(g, "rootfs-wasi", "wasi/wasm") }),
		Ctr:       everywhere(Runs), CRI: [4]string{Runs, Runs, Runs, "snapshot"},
	},
	{
		Title: "tar layers, `wasip1/wasm`", Name: "rootfs-wasip1", Command: App,
		Manifests: one(func(g Guests) registry.Manifest { return rootFSImage(g, "rootfs-wasip1", "wasip1/wasm") }),
		Ctr:       everywhere(Runs), CRI: [4]string{Runs, Runs, Runs, "snapshot"},
	},
	{
		Title: "index of `wasi/wasm` or `wasip1/wasm` alone, tar layers", Name: "rootfs-wasm-index", Command: App, Index: true,
		Manifests: func(g Guests) []registry.Manifest {
			return []registry.Manifest{rootFSImage(g, "rootfs-wasm-index", "wasip1/wasm"), rootFSImage(g, "rootfs-wasm-index", "wasi/wasm")}
		},
		Ctr: [4]string{"platform", "platform", "platform, late", "platform, late"}, CRI: everywhere("platform"),
	},
	{
		Title: "CNCF artifact (`application/wasm`)", Name: "artifact", Command: App,
		Manifests: one(func(g Guests) registry.Manifest { return Artifact(g, WasmLayer, "app.wasm") }),
		Ctr:       from17("1.6.20", "config"), CRI: from17("1.6.20", Runs),
	},
	{
		Title: "CNCF artifact in an index, `wasip1/wasm`", Name: "artifact-index", Command: App, Index: true,
		Manifests: one(func(g Guests) registry.Manifest { return Artifact(g, WasmLayer, "app.wasm") }),
		Ctr:       [4]string{"platform", "platform", "platform, late", "platform, late"}, CRI: everywhere("platform"),
	},
	{
		Title: "artifact without a config (`oras push`)", Name: "oras", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			return registry.Manifest{
				Config: registry.Blob{MediaType: "application/vnd.oci.empty.v1+json", Content: []byte("{}")},
				Layers: []registry.Blob{ModuleLayer(g, WasmLayer, "probe-c", "app.wasm")},
			}
		}),
		Ctr: from17("1.6.20", "config"), CRI: from17("1.6.20", Runs),
	},
	{
		Title: "OCI config, module layer of runwasi, no `diff_ids`", Name: "runwasi", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			return registry.Manifest{Config: Config("wasip1/wasm"), Layers: []registry.Blob{ModuleLayer(g, runwasiLayer, "probe-c", "")}}
		}),
		Ctr: from17("1.6.20", Runs), CRI: from17("1.6.20", Runs),
	},
	{
		Title: "the same with `diff_ids`", Name: "runwasi-diffs", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			layer := ModuleLayer(g, runwasiLayer, "probe-c", "")
			return registry.Manifest{Config: Config("wasip1/wasm", layer), Layers: []registry.Blob{layer}}
		}),
		Ctr: [4]string{"diffs, 1.6", "diffs, pull", "diffs, start", "diffs, start"},
		CRI: [4]string{"diffs, 1.6", "diffs, pull", "diffs, create", "diffs, create"},
	},
	{
		Title: "OCI config, layer `application/vnd.w3c.wasm.module.v1+wasm`", Name: "w3c", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			return registry.Manifest{Config: Config("wasi/wasm"), Layers: []registry.Blob{ModuleLayer(g, w3cLayer, "probe-c", "")}}
		}),
		Ctr: from17("1.6.20", Runs), CRI: from17("1.6.20", Runs),
	},
	{
		Title: "wasm-to-oci (`application/vnd.wasm.content.layer.v1+wasm`)", Name: "wasm-to-oci", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			return registry.Manifest{
				Config: registry.Blob{MediaType: "application/vnd.wasm.config.v1+json", Content: []byte("{}")},
				Layers: []registry.Blob{ModuleLayer(g, wasmToOCILayer, "probe-c", "")},
			}
		}),
		Ctr: from17("1.6.20", "config"), CRI: from17("1.6.20", Runs),
	},
	{
		Title: "several modules in one artifact", Name: "several", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			layers := []registry.Blob{ModuleLayer(g, WasmLayer, "hello-c", "hello.wasm"), ModuleLayer(g, WasmLayer, "probe-c", "app.wasm")}
			return registry.Manifest{Config: artifactConfig(layers...), Layers: layers}
		}),
		Ctr: from17("1.6.20", "config"), CRI: from17("1.6.20", Runs),
	},
	{
		Title: "tar layers, `linux/<arch>`, and a module layer", Name: "hybrid", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			files := RootFS("etc/data", "data")
			return registry.Manifest{
				Config: Config(LinuxHere, files),
				Layers: []registry.Blob{files, ModuleLayer(g, WasmLayer, "probe-c", "app.wasm")},
			}
		}),
		Ctr: from17("1.6.20", Runs), CRI: everywhere(Runs),
	},
	{
		Title: "module labelled as a tar layer", Name: "mislabelled", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			layer := ModuleLayer(g, tarLayer, "probe-c", "app.wasm")
			return registry.Manifest{Config: Config(LinuxHere, layer), Layers: []registry.Blob{layer}}
		}),
		Ctr: everywhere("tar"), CRI: everywhere("tar"),
	},
	{
		Title: "Spin application", Name: "spin", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			return registry.Manifest{
				Config: registry.Blob{MediaType: "application/vnd.fermyon.spin.application.v1+config", Content: []byte(`{"name":"app"}`)},
				Layers: []registry.Blob{ModuleLayer(g, wasmToOCILayer, "probe-c", "")},
			}
		}),
		Ctr: from17("1.6.20", "config"), CRI: from17("1.6.20", "spin"),
	},
	{
		Title: "WASI 0.2 component", Name: "component", Command: App,
		Manifests: one(func(g Guests) registry.Manifest {
			layer := registry.Blob{MediaType: WasmLayer, Content: componentHeader}
			return registry.Manifest{Config: Config("wasip2/wasm"), Layers: []registry.Blob{layer}}
		}),
		Ctr: from17("1.6.20", "component"), CRI: from17("1.6.20", "component"),
	},
}

// componentHeader is that of a component instead of a module.
var componentHeader = []byte("\x00asm\x0d\x00\x01\x00")
