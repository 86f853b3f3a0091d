// Package fetch gets a module that is a layer of a container's image out of
// containerd. It is what the shim's binary does as a short-lived process of its
// own: the shim lives as long as its Pod, and the memory that gRPC and a manifest
// take would stay with it.
//
// The shim starts it, sends a Request, and receives the module as a descriptor.
// The manifests are package layers' to read; here is what has to do with
// containerd: whose image it is, whether that is the one that was asked for, and a
// lease while a layer is read. Modules are kept in the node's cache.
package fetch
