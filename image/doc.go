// Package image writes OCI images that hold a Wasm module, in the one shape
// that every containerd, CRI-O, Docker and registry understands: ordinary Linux
// images that share a tar layer with /app.wasm in it.
//
// The result depends on its inputs only: the same module, options and version
// of this program give the same bytes on any machine at any time. wasmctl and
// tests call it; nothing of the runtime does, and no registry or daemon is
// talked to here.
package image
