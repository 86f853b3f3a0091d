// Package descriptor holds what a guest's descriptors stand for: files,
// directories, streams and sockets as raw descriptors of this process, the
// table that numbers them, the trees of files that paths are resolved in, and
// waiting for any of them. It lies below the ABI, so that every version of WASI
// can share it: it speaks of the kernel's error numbers and flags.
//
// It is used by one goroutine, the guest's. Nothing here allocates once a
// descriptor is open.
package descriptor
