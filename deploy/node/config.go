package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/containerd/log"
)

// Config says what to install and where. Paths are the host's unless they say
// otherwise; fields that are empty are found or have a default.
type Config struct {
	// Root is the directory in which this process sees the host's root.
	Root string
	// Programs is this process's path of the directory with the shim and the runner.
	Programs string
	// Prefix is where the programs go. The default is DefaultPrefix.
	Prefix string
	// State is the shim's directory on the node: the cache of compiled code and,
	// while it works, the installer's journal. The default is DefaultState.
	State string
	// Handler is the runtime's name for RuntimeClasses. The default is "wasm".
	Handler string
	// Options are the shim's, as in docs/configuration.md.
	Options map[string]any

	// Layout is one of LayoutNames. The fields after it replace single parts.
	Layout, ConfigFile, Containerd, Socket, Unit string
	// RestartCommand is a line for the host's /bin/sh that restarts containerd,
	// instead of systemd.
	RestartCommand string
	// Restart does it for a caller that started the daemon itself.
	Restart func(context.Context) error

	// Patience is how long containerd may take to come up. The default is a minute
	// and a half.
	Patience time.Duration
	// Step is called before each step that changes the host, with its name. Tests
	// end the process there.
	Step func(string)
}

const (
	// DefaultPrefix is writable on most distributions.
	DefaultPrefix = "/opt/containerd-shim-wasm"
	// DefaultState is the shim's own default, too.
	DefaultState = "/var/lib/containerd-shim-wasm"
	// DefaultHandler is the handler that the project's RuntimeClass names.
	DefaultHandler = "wasm"

	defaultPatience = 90 * time.Second
	// lockFile is on a file system that a reboot empties.
	lockFile = "/run/wasm-node-installer.lock"
)

// handlerName is what a RuntimeClass accepts: a DNS label.
var handlerName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// session is one run on one host, which has the lock.
type session struct {
	Config
	host   host
	layout Layout
	lock   *os.File
}

// open takes the lock, undoes what a killed run has left, and finds the layout. The
// caller closes the session.
func open(ctx context.Context, c Config) (_ *session, err error) {
	if c.Root == "" {
		c.Root = "/"
	}
	if c.Root, err = filepath.Abs(c.Root); err != nil {
		return nil, err
	}
	defaults := []struct {
		field *string
		value string
	}{{&c.Prefix, DefaultPrefix}, {&c.State, DefaultState}, {&c.Handler, DefaultHandler}}
	for _, d := range defaults {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.Step == nil {
		c.Step = func(string) {}
	}
	if !handlerName.MatchString(c.Handler) {
		return nil, fmt.Errorf("handler %q is no name for a RuntimeClass's handler; use lower-case letters, digits and dashes", c.Handler)
	}
	for _, p := range []string{c.Prefix, c.State, c.ConfigFile, c.Containerd, c.Socket} {
		if p != "" && (!path.IsAbs(p) || path.Clean(p) != p || p == "/") {
			return nil, fmt.Errorf("%q is no clean absolute path of the node", p)
		}
	}
	s := &session{Config: c, host: host{root: c.Root}}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.layout, err = s.findLayout(ctx); err != nil {
		return nil, err
	}
	return s, s.recover(ctx)
}

// journals is the host's path of the journal's directory.
func (s *session) journals() string { return filepath.Join(s.State, "install") }

func (s *session) close() { s.lock.Close() }

func (s *session) takeLock() error {
	p, err := s.host.entry(lockFile)
	if err != nil {
		return err
	}
	s.lock, err = os.OpenFile(p, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("take the lock: %w", err)
	}
	err = syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return nil
	}
	s.lock.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("another installer works on this node and has %s; wait until it ends", lockFile)
	}
	return fmt.Errorf("lock %s: %w", lockFile, err)
}

// findLayout is the host's, with the fields of the configuration in place of its.
func (s *session) findLayout(ctx context.Context) (Layout, error) {
	name := s.Layout
	if name == "" && s.ConfigFile != "" && s.Containerd != "" && s.Socket != "" {
		name = "plain" // nothing is left to be found
	}
	l, err := s.host.findLayout(ctx, name)
	if err != nil {
		return l, err
	}
	if s.ConfigFile != "" && s.ConfigFile != l.Config {
		l.Config, l.Templates, l.DropIns = s.ConfigFile, nil, ""
	}
	if s.Containerd != "" {
		l.Containerd = []string{s.Containerd}
	}
	if s.Socket != "" {
		l.Socket = s.Socket
	}
	if s.Unit != "" {
		l.Units = []string{s.Unit}
	}
	log.G(ctx).WithField("layout", l.Name).WithField("config", l.Config).Debug("found containerd")
	return l, nil
}

// recover undoes what a killed run has begun.
func (s *session) recover(ctx context.Context) error {
	t, err := load(s.host, s.journals(), s.Step)
	if err != nil {
		return err
	}
	if t == nil {
		return s.leaveNoState()
	}
	log.G(ctx).Warn("an installer was killed on this node: its changes are undone")
	return s.undo(ctx, t)
}

func (s *session) undo(ctx context.Context, t *transaction) error {
	err := t.undo(func() error {
		restart, err := s.restarter(ctx)
		if err == nil {
			err = restart(ctx)
		}
		if err != nil {
			return err
		}
		return s.await(ctx, func(runtimeState) error { return nil })
	}, log.G(ctx).Warnf)
	if err != nil {
		return err
	}
	return s.leaveNoState()
}

// leaveNoState removes the directories of the journal when nothing is in them.
func (s *session) leaveNoState() error {
	if err := s.host.removeEmpty(s.journals()); err != nil {
		return err
	}
	return s.host.removeEmpty(s.State)
}

// begin starts a transaction. The directory of its journal comes first.
func (s *session) begin() (*transaction, error) {
	for _, dir := range []string{s.State, s.Prefix} {
		if err := s.host.checkDir(dir); err != nil {
			return nil, err
		}
	}
	s.Step("state")
	p, err := s.host.resolve(s.journals())
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p, 0o755); err != nil {
		return nil, cannotWrite(s.State, err)
	}
	return begin(s.host, s.journals(), s.Step), nil
}
