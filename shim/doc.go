// Package shim is containerd's side of containerd-shim-wasm-v1: the bootstrap
// protocol, the task service, the dispatch between Wasm and native containers,
// events, exits, standard streams and statistics. The sandbox service beside it
// makes Pods without a pause container; the pause containers that other daemons
// ask for are held here, too.
//
// A Wasm container is one process that sandbox isolates and runner runs; this
// package starts, signals, observes and ends it. A native container goes to
// containerd's own runc task service in the same process, untouched.
//
// Nothing here looks into a module or knows a system call of the sandbox. Only
// cmd/containerd-shim-wasm-v1 imports this package.
package shim
