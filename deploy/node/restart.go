package node

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/log"
	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// systemdSocket is systemd's own. Its protocol is D-Bus, but no bus is between,
// whose AppArmor policy a container would have to satisfy.
const systemdSocket = "/run/systemd/private"

// restarter returns what restarts containerd in the layout's way and returns when that
// is done; the daemon may not be ready yet. Running containers go on. It fails when
// nothing can, before anything has changed that would need it.
func (s *session) restarter(ctx context.Context) (func(context.Context) error, error) {
	switch {
	case s.Restart != nil:
		return s.Restart, nil
	case s.RestartCommand != "":
		argv := []string{"/bin/sh", "-c", s.RestartCommand}
		if s.host.root != "/" {
			// In a Pod, which has to be one in the host's pid namespace: what the
			// command starts must not stay in the Pod's other namespaces.
			argv = []string{"/bin/sh", "-c", `exec nsenter -t 1 -m -u -i -n -p -- /bin/sh -c "$0"`, s.RestartCommand}
		}
		return func(ctx context.Context) error {
			_, err := s.host.run(ctx, nil, argv...)
			return err
		}, nil
	}
	live, _, err := s.host.readFile(s.layout.Config)
	if err != nil {
		return nil, err
	}
	if s.managedDropIns(live) {
		return func(context.Context) error {
			log.G(ctx).Infof("%s restarts containerd by itself", s.layout.Name)
			return nil
		}, nil
	}
	conn, unit, err := s.host.findUnit(ctx, s.layout.Units)
	if err != nil {
		return nil, err
	}
	conn.Close()
	return func(ctx context.Context) error { return s.host.restartUnit(ctx, unit) }, nil
}

// findUnit returns a connection to systemd, which the caller closes, and the one of
// the units that runs.
func (h host) findUnit(ctx context.Context, units []string) (_ *systemd.Conn, unit string, _ error) {
	path, err := h.resolve(systemdSocket)
	if err != nil {
		return nil, "", err
	}
	conn, err := systemd.NewConnection(func() (*dbus.Conn, error) {
		c, err := dbus.Dial("unix:path="+dbus.EscapeBusAddressValue(path), dbus.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		if err := c.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("ask systemd to restart %s: %w; on a node without systemd, say how with --restart-command", strings.Join(units, " or "), err)
	}
	states, err := conn.ListUnitsByNamesContext(ctx, units)
	if err != nil {
		conn.Close()
		return nil, "", fmt.Errorf("ask systemd for %s: %w", strings.Join(units, " and "), err)
	}
	for _, u := range states {
		if u.LoadState == "loaded" && u.ActiveState != "inactive" {
			return conn, u.Name, nil
		}
	}
	conn.Close()
	return nil, "", fmt.Errorf("systemd runs none of %s; name containerd's service with --unit", strings.Join(units, ", "))
}

func (h host) restartUnit(ctx context.Context, unit string) error {
	conn, _, err := h.findUnit(ctx, []string{unit})
	if err != nil {
		return err
	}
	defer conn.Close()
	// One that failed too often would not be started again.
	_ = conn.ResetFailedUnitContext(ctx, unit)
	done := make(chan string, 1)
	if _, err := conn.RestartUnitContext(ctx, unit, "replace", done); err != nil {
		return fmt.Errorf("restart %s: %w", unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("restart %s: systemd says %q; see `journalctl -u %[1]s`", unit, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("restart %s: %w", unit, ctx.Err())
	}
}
