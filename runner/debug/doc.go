// Package debug is what can be executed in a Wasm container that has no shell:
// a few commands to look around with, which behave as those of coreutils and
// busybox do for the options that people type.
//
// They run in a process inside the container's namespaces, cgroup and root file
// system, as the container's user, and so see what the guest can see. They only
// look: nothing here may write to a file, create one, change the system or
// execute a program, which a test watches. What they read was made by an image
// or a guest that may be hostile, so that every command needs a bounded amount
// of memory, opens what might block it without waiting, and lets no name move a
// terminal's cursor.
//
// Main is called by cmd/wasm-runner. The shim, which must know the names, takes
// them from internal/debugnames.
package debug
