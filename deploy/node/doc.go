// Package node installs the shim on a node of a cluster, upgrades it, verifies it
// and removes it again.
//
// It finds containerd's configuration in the layouts of the usual distributions,
// adds the runtime to it by a file of its own where containerd imports one and by a
// marked block otherwise, has containerd itself judge the result before anything
// that is live changes, restarts containerd, and asks it for the handler. What fails
// is undone; a journal, written before each change, lets the next run undo what a
// killed one has begun.
//
// Nothing here knows of Wasm or links the shim: its programs are files that are
// copied. cmd/wasm-node-installer calls it; the machine that is worked on is a
// directory, "/" or where a Pod has mounted it.
package node
