// Package image makes OCI images that hold a Wasm module, in the shapes that
// containerd, CRI-O, Docker, registries and tools for artifacts understand, and
// finds the module in an image of any shape.
//
// What is made depends on the inputs only: the same module, options and version
// of this program give the same bytes on any machine at any time, in an archive,
// in a layout and in a registry. wasmctl and tests call it; nothing of the
// runtime does. It talks to registries, and asks a containerd for images.
package image
