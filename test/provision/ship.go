package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Ship makes what the tests need of one containerd version and says where it is
// and by which name a machine that can make nothing itself has to have it, below
// the directory that E2E_SHIPPED names there.
func (s *Store) Ship(ctx context.Context, version string) (files map[string]string, _ error) {
	files = map[string]string{}
	add := func(name, path string, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Stat(path)
		if err != nil || !fi.IsDir() {
			files[name] = path
			return err
		}
		entries, err := os.ReadDir(path)
		for _, e := range entries {
			files[filepath.Join(name, e.Name())] = filepath.Join(path, e.Name())
		}
		return err
	}
	path, err := s.Containerd(ctx, version)
	if err := add("containerd-"+version, path, err); err != nil {
		return nil, err
	}
	path, err = s.Runc(ctx)
	if err := add("runc", path, err); err != nil {
		return nil, err
	}
	path, err = s.Busybox(ctx)
	if err := add("busybox", path, err); err != nil {
		return nil, err
	}
	for name := range s.guestSources() {
		path, err = s.Guest(ctx, name)
		if err := add("guests/"+name+".wasm", path, err); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// shippedPath is the path of what was shipped by that name.
func (s *Store) shippedPath(name string) (string, error) {
	path := filepath.Join(s.shipped, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s was not shipped to this machine: %w", name, err)
	}
	return path, nil
}
