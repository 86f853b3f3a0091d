// Package compile makes compiled code of a module, in a short-lived process that
// has a sandbox of its own, since a module is hostile until proven otherwise. It
// gets the module by descriptor and leaves the code in a draft of the node's
// cache, has no network, and ends at its limits of memory and time.
//
// The shim calls it for a Create, and wasmctl ahead of one: both by the same code,
// so that what one has compiled the other finds. Nothing of containerd belongs
// here.
package compile
