// Package daemon runs a containerd of its own: with a private root, state,
// socket and containerd namespace, beside whatever else runs on the machine,
// and gone without a trace when it stops.
//
// The demo, the end-to-end tests and the benchmarks use it.
package daemon
