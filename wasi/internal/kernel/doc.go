// Package kernel holds the system calls behind a guest's descriptors, in the
// form that they need: no allocation, and only what golang.org/x/sys/unix does
// not offer without one (paths, vectors and socket addresses in buffers that
// are reused). It knows nothing of WASI.
//
// Every call that may sleep for long tells the Go scheduler so, and is repeated
// when a signal has interrupted it before it did anything: the Go runtime sends
// signals to its own threads. Those called Briefly are neither.
package kernel
