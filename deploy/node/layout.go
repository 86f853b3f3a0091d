package node

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Layout is where a distribution keeps what concerns containerd. All paths are the
// host's.
type Layout struct {
	Name string
	// Config is the file that containerd reads.
	Config string
	// Templates are those that the distribution makes Config of, the one that wins
	// first; empty where Config itself is edited.
	Templates []string
	// DropIns is the directory of files that the distribution merges into
	// containerd's configuration by itself, and Merged the result; DropIns is
	// empty where there is none.
	DropIns, Merged string
	// Containerd are the places of the program; patterns of path.Match.
	Containerd []string
	// Socket is containerd's.
	Socket string
	// Units are the services of systemd of which one runs containerd.
	Units []string

	// marks are what only this layout has.
	marks []string
}

const (
	rancherConfig = "agent/etc/containerd"
	rancherSocket = "/run/k3s/containerd/containerd.sock" // RKE2's, too
)

// rancher is the layout of K3s and RKE2, which write config.toml at each start.
// config-v3.toml.tmpl wins over config.toml.tmpl; "base" is the built-in template.
func rancher(name string, units ...string) Layout {
	dir := filepath.Join("/var/lib/rancher", name)
	return Layout{
		Name:       name,
		Config:     filepath.Join(dir, rancherConfig, "config.toml"),
		Templates:  []string{filepath.Join(dir, rancherConfig, "config-v3.toml.tmpl"), filepath.Join(dir, rancherConfig, "config.toml.tmpl")},
		Containerd: []string{filepath.Join(dir, "data/current/bin/containerd"), filepath.Join(dir, "data/*/bin/containerd"), filepath.Join(dir, "bin/containerd")},
		Socket:     rancherSocket,
		Units:      units,
		marks:      []string{filepath.Join(dir, rancherConfig)},
	}
}

// layouts are tried in this order; the plain one, which a machine may have beside
// that of a distribution, comes last.
var layouts = []Layout{
	rancher("k3s", "k3s.service", "k3s-agent.service"),
	rancher("rke2", "rke2-server.service", "rke2-agent.service"),
	{
		Name:       "k0s",
		Config:     "/etc/k0s/containerd.toml",
		DropIns:    "/etc/k0s/containerd.d",
		Merged:     "/run/k0s/containerd-cri.toml",
		Containerd: []string{"/var/lib/k0s/bin/containerd"},
		Socket:     "/run/k0s/containerd.sock",
		Units:      []string{"k0sworker.service", "k0scontroller.service"},
		marks:      []string{"/etc/k0s/containerd.toml", "/etc/k0s/containerd.d"},
	},
	{
		Name:       "microk8s",
		Config:     "/var/snap/microk8s/current/args/containerd.toml",
		Templates:  []string{"/var/snap/microk8s/current/args/containerd-template.toml"},
		Containerd: []string{"/snap/microk8s/current/bin/containerd"},
		Socket:     "/var/snap/microk8s/common/run/containerd.sock",
		Units:      []string{"snap.microk8s.daemon-containerd.service"},
		marks:      []string{"/var/snap/microk8s/current/args/containerd-template.toml"},
	},
	{
		Name:       "plain",
		Config:     "/etc/containerd/config.toml",
		Containerd: []string{"/usr/local/bin/containerd", "/usr/bin/containerd", "/bin/containerd", "/opt/containerd/bin/containerd"},
		Socket:     "/run/containerd/containerd.sock",
		Units:      []string{"containerd.service"},
		marks:      []string{"/etc/containerd", "/usr/bin/containerd", "/usr/local/bin/containerd"},
	},
}

// LayoutNames are the values of Config.Layout.
func LayoutNames() (names []string) {
	for _, l := range layouts {
		names = append(names, l.Name)
	}
	return names
}

// findLayout returns the layout of the host: the one that is named, or the only one
// that is there. Of several, a daemon that answers tells which is used, and
// containerd beside a distribution's own is that of Docker.
func (h host) findLayout(ctx context.Context, name string) (Layout, error) {
	var found, alive []Layout
	for _, l := range layouts {
		if l.Name == name {
			return l, nil
		}
		if slices.ContainsFunc(l.marks, h.exists) {
			found = append(found, l)
			if h.listens(ctx, l.Socket) {
				alive = append(alive, l)
			}
		}
	}
	if name != "" {
		return Layout{}, fmt.Errorf("there is no layout %q; --layout takes %s", name, strings.Join(LayoutNames(), ", "))
	}
	if len(alive) > 0 {
		found = alive
	}
	if len(found) > 1 && found[len(found)-1].Name == "plain" {
		found = found[:len(found)-1]
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Layout{}, fmt.Errorf("no containerd is found below %s: nothing of %s is there; name its files with --config, --containerd and --socket",
			h.root, strings.Join(LayoutNames(), ", "))
	}
	var names []string
	for _, l := range found {
		names = append(names, l.Name)
	}
	return Layout{}, fmt.Errorf("this node has containerd of %s; say with --layout which one runs the Pods", strings.Join(names, " and of "))
}

// listens says whether something accepts connections on a socket of the host.
func (h host) listens(ctx context.Context, socket string) bool {
	p, err := h.resolve(socket)
	if err != nil {
		return false
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "unix", p)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// findContainerd returns the host's path of the layout's containerd.
func (h host) findContainerd(l Layout) (string, error) {
	for _, pattern := range l.Containerd {
		dir, err := h.resolve("/")
		if err != nil {
			return "", err
		}
		matches := []string{filepath.Join(dir, pattern)}
		if strings.Contains(pattern, "*") {
			if matches, err = filepath.Glob(matches[0]); err != nil {
				return "", err
			}
		}
		for _, m := range matches {
			if p := h.inside(m); h.exists(p) {
				return p, nil
			}
		}
	}
	return "", fmt.Errorf("containerd is not at %s; name the program with --containerd", strings.Join(l.Containerd, " or "))
}

// LayoutOf returns the layout of that name.
func LayoutOf(name string) (Layout, bool) {
	i := slices.IndexFunc(layouts, func(l Layout) bool { return l.Name == name })
	if i < 0 {
		return Layout{}, false
	}
	return layouts[i], true
}
