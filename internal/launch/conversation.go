package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Conversation is a configuration pipe and a control socket, as package control
// describes them, for one process that is to be spawned.
type Conversation struct {
	// Config and Socket are the process's ends, for control.ConfigFD and
	// control.SocketFD.
	Config, Socket *os.File
	// Ours is this side's end of the socket; it can be read with a deadline, and
	// Close leaves it open.
	Ours *os.File

	configWrite *os.File
}

// NewConversation makes one. The caller closes it and its Ours.
func NewConversation() (*Conversation, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make configuration pipe: %w", err)
	}
	c := &Conversation{Config: r, configWrite: w}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		// For a deadline; the process's end stays blocking.
		err = unix.SetNonblock(fds[0], true)
		c.Ours = os.NewFile(uintptr(fds[0]), "control")
		c.Socket = os.NewFile(uintptr(fds[1]), "control")
	}
	if err != nil {
		c.Close()
		c.Ours.Close()
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	return c, nil
}

// Spawned closes the process's ends. As long as this side has them it would
// not see that the process is gone, and could block in a write for ever.
func (c *Conversation) Spawned() {
	c.Config.Close()
	c.Socket.Close()
}

// Send writes the configuration to a process that reads up to EOF. One that died
// meanwhile is found by its missing report.
func (c *Conversation) Send(config any) error {
	b, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("marshal configuration: %w", err)
	}
	if _, err := c.configWrite.Write(b); err != nil && !errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("send configuration: %w", err)
	}
	return c.configWrite.Close()
}

// Close closes all but Ours. After Spawned or Send it closes what is left.
func (c *Conversation) Close() {
	c.Spawned()
	c.configWrite.Close()
}
