// Package node is what wasmctl does on a node: it looks after the cache of compiled
// code, and fills it ahead of time with the modules of containerd's images.
//
// What a module's code is, and how it is made, is package compile's, as it is for
// the shim; which file of an image a container would run is package oci's. Here is
// what people see of it. The modules of images that are layers lie in the same
// cache.
package node
