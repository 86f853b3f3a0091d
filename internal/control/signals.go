package control

import "syscall"

// GuestSignals are the signals of which a guest hears that reads its signals;
// the shim sends them to the runner, which has handlers for them. Every other
// signal keeps its default action.
func GuestSignals() []syscall.Signal {
	return []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT,
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2,
	}
}

// AsksToEnd tells those that begin a drain from those to which programs give a
// meaning of their own.
func AsksToEnd(sig syscall.Signal) bool {
	return sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT
}
