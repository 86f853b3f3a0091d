package runner

import (
	"os"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// handleSignals handles the signals that end a native program, and closes
// handled when it would see one. The kernel discards them for the first process
// of a PID namespace unless it has a handler.
//
// Without a stream each of them ends the process. The shim makes sure with
// SIGKILL, so this may be best effort: it does not interrupt a system call that
// never returns. With a stream the guest hears of those of
// control.GuestSignals, and the shim sees to it that it ends in time.
//
// SIGPIPE is ignored instead: WASI has no signals, and a guest sees EPIPE.
func handleSignals(handled chan<- struct{}, stream *signalStream) {
	signal.Ignore(syscall.SIGPIPE)
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM)
	close(handled)
	for s := range c {
		sig, ok := s.(syscall.Signal)
		switch {
		case !ok:
		case stream != nil && slices.Contains(control.GuestSignals(), sig):
			stream.tell(sig)
		default:
			os.Exit(128 + int(sig))
		}
	}
}

// signalStream is a pair of connected sockets. A socket, because that is what
// the event loops of guests' libraries can wait for beside their connections.
type signalStream struct {
	// guest is the raw descriptor for the guest; the host owns it once the guest
	// is loaded.
	guest int
	ours  int
}

func newSignalStream() (*signalStream, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	return &signalStream{ours: fds[0], guest: fds[1]}, nil
}

// tell sends the name of the signal as a line. A guest that reads none of
// thousands of them misses the rest.
func (s *signalStream) tell(sig syscall.Signal) {
	_ = unix.Sendto(s.ours, []byte(unix.SignalName(sig)+"\n"), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
}
