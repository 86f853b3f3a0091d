// Package wasi is what a guest may import: the functions of its host, by module,
// name and signature, and the resources behind them (arguments, environment,
// directories, standard streams, sockets, clocks).
//
// The runner asks it what it provides before anything is compiled, and then
// lets it put the host modules that one guest needs into a wazero.Runtime. This
// seam is all that the runner knows of an ABI.
//
// Below the seam, each in a package of its own: preview1 is the ABI of WASI
// preview 1 with WasmEdge's sockets; descriptor holds the guest's files,
// directories, streams and sockets, and waiting for them; resolver looks names
// up; kernel makes system calls without allocating. WASI 0.2 comes beside
// preview1, above the same resources.
//
// It imports nothing of this project.
package wasi
