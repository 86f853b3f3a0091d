// Package runner runs one guest, from its description to its exit code: it
// checks the binary, sets the engine up, takes compiled code from a cache,
// limits the guest's memory, and reports traps.
//
// Guest and Compile are whole processes that the shim starts through
// cmd/wasm-runner; they get everything through the descriptors of
// internal/control, and nothing through their environment. Run does the same
// inside a program for people, and Describe only says what a binary
// declares, and what is wrong with it.
//
// What runs a guest is a program, with one implementation per kind of binary:
// core modules today. Everything that can be wrong with an image is found when
// the program is loaded, before the guest starts. What guests import lives in
// package wasi.
//
// Nothing of containerd may be imported here, and no logger: the process stays
// small and reports through its exit code, its descriptors and the guest's
// stderr.
package runner
