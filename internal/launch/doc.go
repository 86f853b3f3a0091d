// Package launch is what every process that is started as wasm-runner is given:
// the binary itself, a conversation as package control describes it, and its
// configuration in memory. The shim starts containers by it, and package compile
// the compile process.
package launch
