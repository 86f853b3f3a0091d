// Package layers finds the Wasm modules that an image carries as layers of their
// own: what registries call Wasm artifacts, the layers of other Wasm runtimes, and
// images that have both a root file system and a module beside it.
//
// It reads manifests and blobs through a content.Provider and knows neither where
// they are nor what asks: the shim and wasmctl call it, and the runner must not,
// because it would link containerd's packages. Everything that it reads comes from
// outside. It is bounded and compared with its digest.
//
// Every error is a *control.Error: one sentence with the thing, the cause and the
// way out.
package layers
