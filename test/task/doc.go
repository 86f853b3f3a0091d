// Package task tests the built shim over its own socket, as a daemon would call
// it: every call in every state, the order of events, and what is left behind.
//
// The tests need root and the built binaries, whose directory E2E_BIN names.
package task
