package provision

import (
	"context"
	"fmt"
	"runtime"
	"strings"
)

// MariaDB returns the root directory of Debian's MariaDB server, unpacked: it is
// not installed, so no service of this machine starts.
func (s *Store) MariaDB(ctx context.Context) (string, error) {
	const server = "mariadb-server-core"
	version, err := s.candidate(ctx, server)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("debian-%s-%s-%s", server, strings.ReplaceAll(version, ":", "_"), runtime.GOARCH)
	return s.entry(ctx, name, func(ctx context.Context, dir string) error {
		packages, err := withMissingDependencies(ctx, server)
		if err != nil {
			return err
		}
		return unpack(ctx, dir, packages...)
	})
}

// IPRoute makes sure that the ip command is there, which makes the links between
// network namespaces.
func (s *Store) IPRoute(ctx context.Context) error { return s.install(ctx, "iproute2") }
