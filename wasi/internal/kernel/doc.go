// Package kernel holds the system calls behind a guest's descriptors, in the
// form that they need: no allocation, and only what golang.org/x/sys/unix does
// not offer without one (paths, vectors and socket addresses in buffers that
// are reused). It knows nothing of WASI.
//
// Every call that may sleep for long, which those called Briefly may not, tells the Go scheduler so, and every call
// that a signal may interrupt before it did anything is repeated: the Go runtime
// sends signals to its own threads.
package kernel
