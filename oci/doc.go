// Package oci turns what containerd hands over (a bundle's config.json and its
// root file system) into one validated description of what is to run.
//
// It finds the Wasm module that the spec names, decides between Wasm and native
// by content, and fills a Workload. It knows nothing of wazero, of containerd's
// services or of how a sandbox is built. The shim and wasmctl call it; the
// runner reads the Workload. Only the standard library, runtime-spec,
// golang.org/x/sys and internal/control may be imported here.
//
// Every error that has to do with the spec or the image is a *control.Error:
// one sentence with the thing, the cause and the way out.
package oci
