// Package preview1 is the ABI of WASI preview 1 (wasi_snapshot_preview1) and of
// WasmEdge's sockets, which live in the same module: it reads a guest's
// parameters and memory, calls package descriptor, and answers with error
// numbers. It is one of the ABIs above the same resources.
//
// # Notes
//
//   - Only the low half of a slot of an i32 is defined; every parameter is
//     masked where it is read.
//   - Vectors go to the kernel as they lie in the guest's memory, which does not
//     move while a call is in progress: only the guest's own goroutine grows it.
//     No slice of it is kept from one call to the next.
//   - No function allocates, but for what opens something for the first time,
//     getaddrinfo, and how a guest ends.
package preview1
