package orders

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace that lives as long as one thread of this
// process, so that it needs no name and cannot be left behind.
type Namespace struct {
	thread int
	calls  chan func()
	ended  chan struct{}
}

// newNamespace makes a namespace with nothing but a loopback interface.
func newNamespace(ctx context.Context) (*Namespace, error) {
	n := &Namespace{calls: make(chan func()), ended: make(chan struct{})}
	made := make(chan error)
	go n.live(made)
	if err := <-made; err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	if err := n.ip(ctx, "link", "set", "lo", "up"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// live is the namespace's goroutine. It never unlocks its thread, which
// therefore ends with it instead of serving others from a foreign namespace.
func (n *Namespace) live(made chan<- error) {
	defer close(n.ended)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		made <- err
		return
	}
	n.thread = unix.Gettid()
	made <- nil
	for call := range n.calls {
		call()
	}
}

// Close ends the namespace, once no process or socket is left in it.
func (n *Namespace) Close() {
	close(n.calls)
	<-n.ended
}

// Path is that of the namespace's file, for the spec of a container.
func (n *Namespace) Path() string {
	return fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), n.thread)
}

// do calls f inside. Sockets that f makes and processes that it starts belong to
// the namespace for ever; calls are made one after the other.
func (n *Namespace) do(f func() error) error {
	result := make(chan error, 1)
	n.calls <- func() { result <- f() }
	return <-result
}

// Dial connects from inside the namespace to an IP address and port.
func (n *Namespace) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens inside the namespace.
func (n *Namespace) Listen(address string) (l net.Listener, err error) {
	err = n.do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// Start starts a command inside. A parent-death signal of the command is about
// the namespace's thread.
func (n *Namespace) Start(cmd *exec.Cmd) error { return n.do(cmd.Start) }

func (n *Namespace) ip(ctx context.Context, args ...string) error {
	return n.do(func() error {
		out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
		return nil
	})
}

// connect links two namespaces and gives each its address, in CIDR notation.
func connect(ctx context.Context, a *Namespace, addrA string, b *Namespace, addrB string) error {
	err := a.ip(ctx, "link", "add", "eth0", "type", "veth",
		"peer", "name", "eth0", "netns", strconv.Itoa(b.thread))
	return errors.Join(err,
		a.ip(ctx, "address", "add", addrA, "dev", "eth0"),
		b.ip(ctx, "address", "add", addrB, "dev", "eth0"),
		a.ip(ctx, "link", "set", "eth0", "up"),
		b.ip(ctx, "link", "set", "eth0", "up"),
	)
}
