package layers

import "strings"

// moduleTypes are the media types of layers that are a WebAssembly binary as it
// is. Whether that is a core module is up to its first bytes.
var moduleTypes = map[string]bool{
	// CNCF's Wasm OCI artifact layout.
	"application/wasm": true,
	// runwasi, up to now for modules and components alike.
	"application/vnd.bytecodealliance.wasm.component.layer.v0+wasm": true,
	"application/vnd.w3c.wasm.module.v1+wasm":                       true,
	"application/vnd.w3c.wasm.component.v1+wasm":                    true,
	// wasm-to-oci, and what came of it.
	"application/vnd.wasm.content.layer.v1+wasm":        true,
	"application/vnd.module.wasm.content.layer.v1+wasm": true,
}

// rootFSPrefixes begin the media types of layers that containerd unpacks into a
// root file system.
var rootFSPrefixes = []string{
	"application/vnd.oci.image.layer.",
	"application/vnd.docker.image.rootfs.",
	"application/vnd.erofs.",
}

func isRootFS(mediaType string) bool {
	for _, p := range rootFSPrefixes {
		if strings.HasPrefix(mediaType, p) {
			return true
		}
	}
	return false
}

// isUnknownWasm tells a layer that says it is WebAssembly in a form that is not
// known here, such as a compressed one.
func isUnknownWasm(mediaType string) bool {
	return !moduleTypes[mediaType] && (strings.HasSuffix(mediaType, "+wasm") || strings.Contains(mediaType, "wasm+") || strings.HasPrefix(mediaType, "application/wasm"))
}

// applications are artifacts that hold modules for a host of their own: their
// modules alone are not what their authors mean to be run. They are known by the
// type of the config or of the artifact.
var applications = map[string]struct{ name, wayOut string }{
	"application/vnd.fermyon.spin.application.v1+config": {
		"a Spin application", "run it with a shim for Spin, or pack a WASI module with wasmctl pack",
	},
	"application/vnd.wasmcloud.actor.archive.config": {
		"a wasmCloud component", "run it in wasmCloud, or pack a WASI module with wasmctl pack",
	},
	"application/vnd.wasmcloud.provider.archive.config": {
		"a wasmCloud provider", "run it in wasmCloud, or pack a WASI module with wasmctl pack",
	},
}

// dockerManifest is an image manifest in Docker's words.
const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
