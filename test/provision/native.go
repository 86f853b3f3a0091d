package provision

import (
	"context"
	"path/filepath"
)

// Native returns the path of the C guest of that name compiled for this machine
// as a static program, to measure against.
func (s *Store) Native(ctx context.Context, name string) (string, error) {
	src := s.guestSources()[name]
	if err := s.install(ctx, "clang", "libc6-dev"); err != nil {
		return "", err
	}
	version, err := command{args: []string{"dpkg-query", "-W", "clang", "libc6-dev"}}.run(ctx)
	if err != nil {
		return "", err
	}
	args := []string{"clang", "-O2", "-static", "-s", filepath.Join(s.Checkout, src.path), "-o"}
	key, err := s.digest(append([]string{version}, args[1:4]...), src.path)
	if err != nil {
		return "", err
	}
	dir, err := s.entry(ctx, "native-"+name+"-"+key, func(ctx context.Context, dir string) error {
		_, err := command{args: append(args, filepath.Join(dir, name))}.run(ctx)
		return err
	})
	return filepath.Join(dir, name), err
}
