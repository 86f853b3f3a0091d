package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// conversation is a configuration pipe and a control socket, as package control
// describes them, for one process that is to be spawned.
type conversation struct {
	// config and socket are the process's ends, for control.ConfigFD and
	// control.SocketFD.
	config, socket *os.File
	// ours is the shim's end of the socket; it can be read with a deadline, and
	// close leaves it open.
	ours *os.File

	configWrite *os.File
}

func newConversation() (*conversation, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make configuration pipe: %w", err)
	}
	c := &conversation{config: r, configWrite: w}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		// For a deadline; the process's end stays blocking.
		err = unix.SetNonblock(fds[0], true)
		c.ours = os.NewFile(uintptr(fds[0]), "control")
		c.socket = os.NewFile(uintptr(fds[1]), "control")
	}
	if err != nil {
		c.close()
		c.ours.Close()
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	return c, nil
}

// spawned closes the process's ends. As long as the shim has them it would not
// see that the process is gone, and could block in a write for ever.
func (c *conversation) spawned() {
	c.config.Close()
	c.socket.Close()
}

// send writes the configuration to a process that reads up to EOF. One that died
// meanwhile is found by its missing report.
func (c *conversation) send(config any) error {
	b, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("marshal configuration: %w", err)
	}
	if _, err := c.configWrite.Write(b); err != nil && !errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("send configuration: %w", err)
	}
	return c.configWrite.Close()
}

// close closes all but ours.
func (c *conversation) close() {
	c.spawned()
	c.configWrite.Close()
}
