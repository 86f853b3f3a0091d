// Package pause has the smallest program that holds a Pod's namespaces: it waits,
// reaps what is left to it as the first process of a pid namespace, and ends with
// status 0 at SIGINT or SIGTERM, all as the pause image's does. It is machine
// code, some 400 bytes with its ELF header, since any compiled program would cost
// each Pod more memory than everything it does.
//
// It is a program that sandbox's init becomes, in the place of the runner. shim
// uses it; nothing else does.
package pause
