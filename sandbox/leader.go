package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Leader is the main thread of a process. /proc/<pid>/ns shows the namespaces of
// that thread, so that it can hold those of a Pod for all who are told the pid,
// while the other threads, and all children that they fork, stay in the host's.
//
// The Go runtime makes no thread from one that a goroutine is locked to, nor runs
// another goroutine there.
type Leader struct {
	calls chan func()
	// host are the namespaces to go back to; nil while the thread is there.
	host []hostNamespace
}

type hostNamespace struct{ fd, flag int }

// leaderNamespaces are those that a thread can have for itself.
const leaderNamespaces = unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// NewLeader returns the leader, for which Serve has to be called.
func NewLeader() *Leader { return &Leader{calls: make(chan func())} }

// Serve runs until done is closed. Its goroutine must be locked to the main
// thread, which only an init function can do.
func (l *Leader) Serve(done <-chan struct{}) {
	for {
		select {
		case f := <-l.calls:
			f()
		case <-done:
			return
		}
	}
}

// call runs f on the main thread.
func (l *Leader) call(f func() error) error {
	result := make(chan error)
	l.calls <- func() { result <- f() }
	return <-result
}

// Enter gives the main thread the network, ipc and uts namespace of the Config,
// with their hostname and sysctls. It has no others, and nothing of the rest of
// the Config is done. After an error the thread is where it was.
func (l *Leader) Enter(c *Config) error {
	return l.call(func() error {
		if l.host != nil || c.Moves() || c.PidPath != "" || c.CloneFlags&unix.CLONE_NEWPID != 0 {
			return errors.New("enter the namespaces of a Pod: not by the main thread, or not again")
		}
		for _, ns := range []struct {
			name string
			flag int
		}{{"net", unix.CLONE_NEWNET}, {"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}} {
			fd, err := unix.Open("/proc/thread-self/ns/"+ns.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return errors.Join(fmt.Errorf("open the host's %s namespace: %w", ns.name, err), l.leave())
			}
			l.host = append(l.host, hostNamespace{fd, ns.flag})
		}
		if err := c.surroundThread(); err != nil {
			return errors.Join(err, l.leave())
		}
		return nil
	})
}

// surroundThread is what surround does for a process, as far as it goes for a
// thread.
func (c *Config) surroundThread() error {
	if err := unix.Unshare(int(c.CloneFlags & leaderNamespaces)); err != nil {
		return fmt.Errorf("make the namespaces of the Pod: %w", err)
	}
	if err := c.enterNamespaces(); err != nil {
		return err
	}
	return c.writeProc()
}

// Leave brings the main thread back into the host's namespaces. It may be called
// again.
func (l *Leader) Leave() error { return l.call(l.leave) }

func (l *Leader) leave() error {
	var errs []error
	for _, ns := range l.host {
		if err := unix.Setns(ns.fd, ns.flag); err != nil {
			errs = append(errs, fmt.Errorf("go back to the host's namespace: %w", err))
		}
		unix.Close(ns.fd)
	}
	l.host = nil
	return errors.Join(errs...)
}
