package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Emulator is a software emulator of whole machines, unpacked from Debian's
// packages and not installed.
type Emulator struct{ root string }

// Emulator returns the emulator of this machine's architecture.
func (s *Store) Emulator(ctx context.Context) (*Emulator, error) {
	const pkg = "qemu-system-x86"
	version, err := s.candidate(ctx, pkg)
	if err != nil {
		return nil, err
	}
	root, err := s.entry(ctx, debianEntry(pkg, version), func(ctx context.Context, dir string) error {
		packages, err := withMissingDependencies(ctx, pkg)
		if err != nil {
			return err
		}
		return unpack(ctx, dir, packages...)
	})
	return &Emulator{root}, err
}

// Command returns the program and the arguments to begin with, and what is
// to be added to the environment, so that it finds its libraries and firmware.
func (e *Emulator) Command() (args, env []string) {
	share := filepath.Join(e.root, "usr/share")
	libs := filepath.Join(e.root, "usr/lib/x86_64-linux-gnu") + ":" + filepath.Join(e.root, "lib/x86_64-linux-gnu")
	return []string{filepath.Join(e.root, "usr/bin/qemu-system-x86_64"),
			"-L", filepath.Join(share, "seabios"), "-L", filepath.Join(share, "qemu")},
		[]string{"LD_LIBRARY_PATH=" + libs}
}

// Kernel returns the image of Debian's kernel for virtual machines and the
// directory of its modules.
func (s *Store) Kernel(ctx context.Context) (image, modules string, _ error) {
	if runtime.GOARCH != "amd64" {
		return "", "", fmt.Errorf("there is no virtual machine for %s yet: use amd64", runtime.GOARCH)
	}
	// The package of this name is empty and depends on the current kernel.
	const meta = "linux-image-cloud-amd64"
	version, err := s.candidate(ctx, meta)
	if err != nil {
		return "", "", err
	}
	root, err := s.entry(ctx, debianEntry(meta, version), func(ctx context.Context, dir string) error {
		out, err := command{env: []string{"LC_ALL=C"}, args: []string{"apt-cache", "depends", meta}}.run(ctx)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if pkg, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok {
				return unpack(ctx, dir, pkg)
			}
		}
		return fmt.Errorf("%s depends on no kernel", meta)
	})
	if err != nil {
		return "", "", err
	}
	if image, err = only(filepath.Join(root, "boot/vmlinuz-*")); err != nil {
		return "", "", err
	}
	modules, err = only(filepath.Join(root, "lib/modules/*/kernel"))
	return image, modules, err
}

// only returns the one path that matches.
func only(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%s matches %d files: %w", pattern, len(found), os.ErrNotExist)
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}
