// Package harden takes from the calling process every system call that a runner
// does not make once its guest is loaded.
//
// The profile of the container's spec is for any program, and it may be absent.
// This one is for ours alone, and fixed: it is what is left to somebody who has
// broken out of the guest's memory. It comes on top of the spec's, of which the
// kernel takes whatever is stricter. What it allows is in internal/gen; the
// compiled filters are in this package, so that the runner links nothing of the
// compiler. The package imports only golang.org/x/sys/unix.
package harden

//go:generate go run ./internal/gen
