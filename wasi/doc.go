// Package wasi is what a guest may import: the functions of its host, by module,
// name and signature, and the resources behind them (arguments, environment,
// directories, standard streams, clocks).
//
// The runner asks it what it provides before anything is compiled, and then
// lets it put the host modules that one guest needs into a wazero.Runtime. This
// seam is all that the runner knows of an ABI; WASI 0.2 comes beside preview 1,
// above the same resources.
//
// For now wazero's own preview 1 host serves below the seam. Its limits are
// ours: poll_oneoff does not wait for sockets and calls non-blocking
// descriptors always ready, guests can reach sockets only through inherited
// listeners, a symbolic link inside a preopened directory is followed wherever
// it leads in the runner's mount namespace, and a writev is one write per
// vector. The sandbox around the runner is what isolates, not this package.
//
// It imports nothing of this project.
package wasi
