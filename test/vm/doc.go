// Package vm runs test programs in a virtual machine with a stock kernel whose
// only cgroup hierarchy is version 2.
//
// The machine is emulated in software, so that it needs no support of the host
// and runs where tests run, and is several times slower for it. All its files are
// in memory and gone with it.
package vm
