// Package fetch is wasm-fetch: it gets a module that is a layer of a container's
// image out of containerd, for the shim, and ends. It is a program of its own,
// because the shim lives as long as its Pod, and what gRPC links and leaves in
// memory would stay with it.
//
// The manifests are package layers' to read; here is what has to do with
// containerd: whose image it is, whether that is the one that was asked for, and a
// lease while a layer is read. Modules are kept in the node's cache.
package fetch
