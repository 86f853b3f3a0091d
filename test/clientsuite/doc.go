// Package clientsuite runs containerd's own tests of its client, the package
// integration/client of the containerd 2.4 that is pinned in test/daemons,
// three times side by side:
//
//	runc    with runc, to see what this machine lets pass
//	native  through the Wasm shim, with native programs: it must be as runc is
//	wasm    through the Wasm shim, with images in which every program is a
//	        Wasm module (test/guests/applets.c)
//
// In the last two, the name of runc's shim is the Wasm shim's too, because some
// tests ask for it by name.
//
// What does not pass is in exceptions.txt with its reason. Everything else that
// fails or skips is a failure, and so is an exception that passes.
//
// The suite's sources are neither kept here nor changed, but for one expression
// (see provision.ClientSuite). It starts its own daemon, restarts it and pulls
// its images; registry.go answers for the registries, and each run has its own
// mounts, processes and cgroups (cell.go), so that nothing of it stays. On a
// machine with cgroup v2 alone it was not tried.
//
// `make client-suite` runs all of it; `make test` leaves out runc and the slow
// tests.
package clientsuite
