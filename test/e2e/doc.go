// Package e2e holds the promises to users as tests on real daemons: the same
// behaviours over every containerd version that the project supports.
//
// The tests need root and the project's programs; without E2E_BIN they skip.
// `make e2e` builds everything and sets:
//
//	E2E_BIN      the directory of containerd-shim-wasm-v1, wasm-runner, wasm-fetch, wasmctl
//	E2E_DAEMONS  the containerd versions, comma-separated; all by default
//	E2E_CHURN    how many containers the churn tests run; 160 by default
//	E2E_KEEP     when set, a failed test's daemon log is printed in full
//
// Each test ends with a census: nothing that it started may be left. Tests run side
// by side, so each has a daemon to itself while it runs, from a pool; what a census
// finds is its own. Those that stop their daemon, or look at what it has cached,
// have one of their own, and those that take the whole machine run alone.
package e2e
