// Package seccomp compiles the seccomp profile of an OCI runtime spec to a
// program of classic BPF and loads it, without libseccomp and cgo.
//
// The shim compiles, where a mistake in a profile can still be reported; the
// init of a container only loads, so that neither the compiler nor the tables of
// system calls are linked into the runner. What a profile means is what runc
// and libseccomp make of it; Parse documents where that is a choice.
package seccomp

//go:generate go run ./gen
