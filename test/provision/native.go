package provision

import (
	"context"
	"path/filepath"
)

// Native returns the path of the C guest of that name compiled for this machine
// as a static program, to measure against.
func (s *Store) Native(ctx context.Context, name string) (string, error) {
	return s.native(ctx, name, s.guestSources()[name].path)
}

// Pause returns the path of a static program that does what that of a pause image
// does.
func (s *Store) Pause(ctx context.Context) (string, error) {
	return s.native(ctx, "pause", "test/guests/native/pause.c")
}

// native compiles a C file of the checkout.
func (s *Store) native(ctx context.Context, name, source string) (string, error) {
	if err := s.install(ctx, "clang", "libc6-dev"); err != nil {
		return "", err
	}
	version, err := command{args: []string{"dpkg-query", "-W", "clang", "libc6-dev"}}.run(ctx)
	if err != nil {
		return "", err
	}
	args := []string{"clang", "-O2", "-static", "-s", filepath.Join(s.Checkout, source), "-o"}
	key, err := s.digest(append([]string{version}, args[1:4]...), source)
	if err != nil {
		return "", err
	}
	dir, err := s.entry(ctx, "native-"+name+"-"+key, func(ctx context.Context, dir string) error {
		_, err := command{args: append(args, filepath.Join(dir, name))}.run(ctx)
		return err
	})
	return filepath.Join(dir, name), err
}
