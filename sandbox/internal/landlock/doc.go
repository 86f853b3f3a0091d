// Package landlock confines the calling thread, and every thread and process that
// comes from it, to some files: Linux's unprivileged access control by path
// (landlock(7)).
//
// It is for a process with one thread that matters, such as the sandbox's init
// before its execve: landlock_restrict_self(2) restricts a thread, and only
// kernels of 2026 can restrict all threads of a process together. It imports
// nothing but golang.org/x/sys/unix.
package landlock
