package provision

import (
	"context"
	"path/filepath"
)

// Docker is Debian's Docker, unpacked and not installed: no service of this machine
// starts.
type Docker struct{ root string }

// Docker returns it. Of this machine it needs the command iptables.
func (s *Store) Docker(ctx context.Context) (*Docker, error) {
	const pkg = "docker.io"
	if err := s.install(ctx, "iptables", "iproute2"); err != nil {
		return nil, err
	}
	version, err := s.candidate(ctx, pkg)
	if err != nil {
		return nil, err
	}
	root, err := s.entry(ctx, debianEntry(pkg, version), func(ctx context.Context, dir string) error {
		// Docker starts these two by name, so they are to be found beside it even
		// where the machine has them.
		packages, err := withMissingDependencies(ctx, pkg, "containerd", "runc")
		if err != nil {
			return err
		}
		return unpack(ctx, dir, packages...)
	})
	return &Docker{root}, err
}

// Path lists the directories of dockerd, docker, containerd and runc, for PATH.
func (d *Docker) Path() string {
	return filepath.Join(d.root, "usr/sbin") + ":" + filepath.Join(d.root, "usr/bin")
}

// Libraries lists the directories of the libraries that come with it, for
// LD_LIBRARY_PATH.
func (d *Docker) Libraries() string {
	return filepath.Join(d.root, "usr/lib/x86_64-linux-gnu") + ":" + filepath.Join(d.root, "lib/x86_64-linux-gnu")
}
