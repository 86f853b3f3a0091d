// Package compile tests the compile process as it is installed, with the module
// given to it by hand: what hostile modules, concurrent users and sudden ends do
// to it and to the node. The binaries are in the directory E2E_BIN.
package compile
