package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// Debian's package manager fails at once when another holds its lock; with this
// option it waits.
const aptWait = "-oDPkg::Lock::Timeout=300"

// install makes sure that Debian packages are on this machine, and calls apt
// only for those that are absent.
func (s *Store) install(ctx context.Context, packages ...string) error {
	var absent []string
	for _, p := range packages {
		out, err := command{args: []string{"dpkg-query", "-W", "-f", "${db:Status-Status}", p}}.run(ctx)
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("this machine has no dpkg: install the equivalents of %s by hand: %w", strings.Join(packages, ", "), err)
		}
		if err != nil || out != "installed" {
			absent = append(absent, p)
		}
	}
	if len(absent) == 0 {
		return nil
	}
	// Two processes of this project must not run apt at once.
	unlock, err := s.lock("apt")
	if err != nil {
		return err
	}
	defer unlock()
	s.logf("apt-get install %s", strings.Join(absent, " "))
	install := command{
		env:  []string{"DEBIAN_FRONTEND=noninteractive"},
		args: append([]string{"apt-get", "install", aptWait, "-y", "-q", "--no-install-recommends"}, absent...),
	}
	if _, err = install.run(ctx); err == nil {
		return nil
	}
	// A fresh machine has no package lists, and an old one stale ones.
	if err := aptUpdate(ctx); err != nil {
		return err
	}
	_, err = install.run(ctx)
	return err
}

func aptUpdate(ctx context.Context) error {
	_, err := command{args: []string{"apt-get", "update", "-q", aptWait}}.run(ctx)
	return err
}

// candidate returns the version of a package that apt would install.
func (s *Store) candidate(ctx context.Context, pkg string) (string, error) {
	ask := func() (string, error) {
		out, err := command{env: []string{"LC_ALL=C"}, args: []string{"apt-cache", "policy", pkg}}.run(ctx)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(out) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Candidate: "); ok && v != "(none)" {
				return v, nil
			}
		}
		return "", nil
	}
	version, err := ask()
	if err != nil || version != "" {
		return version, err
	}
	unlock, err := s.lock("apt")
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := aptUpdate(ctx); err != nil {
		return "", err
	}
	if version, err = ask(); err == nil && version == "" {
		err = fmt.Errorf("apt knows no package %s: this needs Debian 12", pkg)
	}
	return version, err
}

// unpack puts the files of Debian packages below dir without installing them:
// nothing is configured, started or replaced on this machine.
func unpack(ctx context.Context, dir string, packages ...string) error {
	debs := filepath.Join(dir, ".debs")
	if err := os.Mkdir(debs, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(debs)
	download := command{dir: debs, args: append([]string{"apt-get", "download", "-q"}, packages...)}
	if _, err := download.run(ctx); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, err := (command{args: []string{"dpkg", "-x", f, dir}}).run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// withMissingDependencies adds to packages what apt would install along with
// them on this machine.
func withMissingDependencies(ctx context.Context, packages ...string) ([]string, error) {
	out, err := command{
		env:  []string{"LC_ALL=C"},
		args: append([]string{"apt-get", "install", "--simulate", "--no-install-recommends"}, packages...),
	}.run(ctx)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for _, p := range packages {
		set[p] = true
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Inst" {
			set[f[1]] = true
		}
	}
	var all []string
	for p := range set {
		all = append(all, p)
	}
	sort.Strings(all)
	return all, nil
}

// Systemd makes sure that systemd is there and what the tests need to run one in
// namespaces. As a package it starts nothing on a machine that runs without it.
func (s *Store) Systemd(ctx context.Context) error { return s.install(ctx, "systemd", "util-linux") }
