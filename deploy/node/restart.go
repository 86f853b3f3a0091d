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

// restart restarts containerd in the layout's way and returns when that is done; the
// daemon may not be ready yet. Running containers go on.
func (s *session) restart(ctx context.Context) error {
	switch {
	case s.Restart != nil:
		return s.Restart(ctx)
	case s.RestartCommand != "":
		_, err := s.host.run(ctx, nil, "/bin/sh", "-c", s.RestartCommand)
		return err
	}
	live, _, err := s.host.readFile(s.layout.Config)
	if err != nil {
		return err
	}
	if s.managedDropIns(live) {
		log.G(ctx).Infof("%s restarts containerd by itself", s.layout.Name)
		return nil
	}
	return s.host.restartUnit(ctx, s.layout.Units)
}

// restartUnit restarts the one of the units that runs.
func (h host) restartUnit(ctx context.Context, units []string) error {
	path, err := h.resolve(systemdSocket)
	if err != nil {
		return err
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
		return fmt.Errorf("ask systemd to restart %s: %w; on a node without systemd, say how with --restart-command", strings.Join(units, " or "), err)
	}
	defer conn.Close()
	states, err := conn.ListUnitsByNamesContext(ctx, units)
	if err != nil {
		return fmt.Errorf("ask systemd for %s: %w", strings.Join(units, " and "), err)
	}
	for _, u := range states {
		if u.LoadState != "loaded" || u.ActiveState == "inactive" {
			continue
		}
		// One that failed too often would not be started again.
		_ = conn.ResetFailedUnitContext(ctx, u.Name)
		done := make(chan string, 1)
		if _, err := conn.RestartUnitContext(ctx, u.Name, "replace", done); err != nil {
			return fmt.Errorf("restart %s: %w", u.Name, err)
		}
		select {
		case result := <-done:
			if result != "done" {
				return fmt.Errorf("restart %s: systemd says %q; see `journalctl -u %[1]s`", u.Name, result)
			}
			return nil
		case <-ctx.Done():
			return fmt.Errorf("restart %s: %w", u.Name, ctx.Err())
		}
	}
	return fmt.Errorf("systemd runs none of %s; name containerd's service with --unit", strings.Join(units, ", "))
}
