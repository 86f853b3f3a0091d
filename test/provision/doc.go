// Package provision makes what the demo and the tests need and keeps it in a
// cache outside the checkout: containerd of four versions, runc, the guests
// compiled from the repository's sources, tools for developers, and a kernel with
// an emulator to run it.
//
// Everything is pinned: daemons and tools by a Go module of their own beside
// this package, Debian's packages by the version that apt offers. An entry of
// the cache is named after what went into it, appears complete or not at all,
// and is made once however many processes ask for it.
package provision
