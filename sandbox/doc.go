// Package sandbox isolates one container's process: namespaces, mounts, user,
// capabilities, limits and labels, as its OCI runtime spec asks.
//
// The shim calls FromSpec, Command and Start; the runner's main calls Init,
// which builds the sandbox around itself and becomes the program that it was
// handed as a descriptor. What the spec asks and this package does not do is
// refused by name, never ignored; docs/oci-spec.md lists every field. Cgroups
// are the business of sandbox/cgroup. It knows nothing of Wasm and imports only
// the standard library, runtime-spec, golang.org/x/sys, internal/control and its
// own compiler of seccomp profiles, because it is linked into every container's
// process; what only the shim calls is not.
package sandbox
