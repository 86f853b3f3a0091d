package provision

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Versions are the containerd versions that the project supports, newest
// first, as users name them.
var Versions = []string{"2.4", "2.2", "1.7", "1.6"}

// Containerd returns the directory with containerd, ctr and
// containerd-shim-runc-v2 of one of Versions.
func (s *Store) Containerd(ctx context.Context, version string) (string, error) {
	if s.shipped != "" {
		return s.shippedPath("containerd-" + version)
	}
	if version == "1.6" {
		// Debian 12 still ships it, and its users run that build.
		return s.debianBinaries(ctx, "containerd", "usr/bin")
	}
	module := "test/daemons/containerd-" + version
	if _, err := os.Stat(filepath.Join(s.Checkout, module)); err != nil {
		return "", fmt.Errorf("containerd %s is not one of %s", version, strings.Join(Versions, ", "))
	}
	path := "github.com/containerd/containerd"
	if strings.HasPrefix(version, "2") {
		path += "/v2"
	}
	dir := filepath.Join(s.Checkout, module)
	full, err := command{dir: dir, args: []string{"go", "list", "-m", "-f", "{{.Version}}", path}}.run(ctx)
	if err != nil {
		return "", err
	}
	full = strings.TrimSpace(full)
	linked := fmt.Sprintf("-s -w -X %s/version.Version=%s", path, full)
	b := goBuild{flags: []string{"-tags", "no_btrfs,no_zfs,no_devmapper", "-ldflags", linked}}
	// As containerd's Makefile builds it for a release: whoever compares with runc
	// compares with this.
	shim := goBuild{env: []string{"CGO_ENABLED=0"}, flags: []string{"-trimpath", "-ldflags", linked + ` -extldflags "-static"`}}
	if strings.HasPrefix(version, "2") {
		shim.flags = append(shim.flags, "-tags", "no_grpc")
	}
	b.except = map[string]goBuild{path + "/cmd/containerd-shim-runc-v2": shim}
	return s.goTools(ctx, "containerd", full, module, b)
}

// PodNetwork returns the directory with CNI's plugins bridge, host-local and
// loopback.
func (s *Store) PodNetwork(ctx context.Context) (string, error) {
	if s.shipped != "" {
		return s.shippedPath("cni")
	}
	return s.goTools(ctx, "cni", "", "test/daemons/cni", goBuild{flags: []string{"-ldflags", "-s -w"}})
}

// Runc returns the directory with Debian's runc, for the native containers.
func (s *Store) Runc(ctx context.Context) (string, error) {
	if s.shipped != "" {
		return s.shippedPath("runc")
	}
	if err := s.install(ctx, "libseccomp2"); err != nil {
		return "", err
	}
	return s.debianBinaries(ctx, "runc", "usr/sbin")
}

// Crun returns the path of Debian's crun, another runtime for native containers.
func (s *Store) Crun(ctx context.Context) (string, error) {
	if err := s.install(ctx, "libcap2", "libseccomp2", "libsystemd0", "libyajl2"); err != nil {
		return "", err
	}
	dir, err := s.debianBinaries(ctx, "crun", "usr/bin")
	return filepath.Join(dir, "crun"), err
}

// Busybox returns the path of a static busybox, the guest of native containers.
func (s *Store) Busybox(ctx context.Context) (string, error) {
	if s.shipped != "" {
		return s.shippedPath("busybox")
	}
	dir, err := s.debianBinaries(ctx, "busybox-static", "bin")
	return filepath.Join(dir, "busybox"), err
}

// Registry returns the path of the registry program of test/daemons/registry.
func (s *Store) Registry(ctx context.Context) (string, error) {
	dir, err := s.goTools(ctx, "registry", "", "test/daemons/registry", goBuild{flags: []string{"-trimpath", "-ldflags", "-s -w"}})
	return filepath.Join(dir, "registry"), err
}

// Daprd returns the path of Dapr's sidecar, see test/daemons/dapr. It takes 190
// seconds of processor time to build.
func (s *Store) Daprd(ctx context.Context) (string, error) {
	dir, err := s.goTools(ctx, "dapr", "", "test/daemons/dapr", goBuild{env: []string{"CGO_ENABLED=0"}, flags: []string{"-trimpath", "-ldflags", "-s -w"}})
	return filepath.Join(dir, "dapr"), err
}

// Staticcheck returns the path of the linter of test/tools.
func (s *Store) Staticcheck(ctx context.Context) (string, error) {
	dir, err := s.goTools(ctx, "tools", "", "test/tools", goBuild{flags: []string{"-trimpath"}})
	return filepath.Join(dir, "staticcheck"), err
}

// Helm returns the directory with helm's command.
func (s *Store) Helm(ctx context.Context) (string, error) {
	return s.goTools(ctx, "helm", "", "test/helm", goBuild{flags: []string{"-trimpath", "-ldflags", "-s -w"}})
}

// Plot returns the path of the program of test/bench/plot.
func (s *Store) Plot(ctx context.Context) (string, error) {
	dir, err := s.goTools(ctx, "plot", "", "test/bench/plot", goBuild{flags: []string{"-trimpath", "-ldflags", "-s -w"}})
	return filepath.Join(dir, "plot"), err
}

// debianBinaries returns the directory sub of a Debian package's files.
func (s *Store) debianBinaries(ctx context.Context, pkg, sub string) (string, error) {
	version, err := s.candidate(ctx, pkg)
	if err != nil {
		return "", err
	}
	dir, err := s.entry(ctx, debianEntry(pkg, version), func(ctx context.Context, dir string) error {
		return unpack(ctx, dir, pkg)
	})
	return filepath.Join(dir, sub), err
}

// debianEntry names the entry of a Debian package.
func debianEntry(pkg, version string) string {
	// An epoch's colon would end an element of PATH.
	return fmt.Sprintf("debian-%s-%s-%s", pkg, strings.ReplaceAll(version, ":", "_"), runtime.GOARCH)
}

// goBuild is how Go programs are built: with env added to the compiler's
// environment. Those in except, by their import paths, are built otherwise.
type goBuild struct {
	env, flags []string
	except     map[string]goBuild
}

// of is how a program is built.
func (b goBuild) of(program string) goBuild {
	if other, ok := b.except[program]; ok {
		return other
	}
	return b
}

// texts say how all programs are built, for the key of a cache's entry.
func (b goBuild) texts() []string {
	all := slices.Clone(b.flags) // what env does, the compiler says itself
	for _, program := range slices.Sorted(maps.Keys(b.except)) {
		other := b.except[program]
		all = slices.Concat(all, []string{program}, other.env, other.flags)
	}
	return all
}

// goTools builds the tools that the go.mod of a module in this checkout declares.
func (s *Store) goTools(ctx context.Context, name, version, module string, b goBuild) (string, error) {
	compiler, err := command{env: b.env, args: []string{"go", "env", "GOVERSION", "CGO_ENABLED"}}.run(ctx)
	if err != nil {
		return "", err
	}
	// All of it: a tool may be the module's own program.
	key, err := s.digest(append(b.texts(), compiler), module)
	if err != nil {
		return "", err
	}
	parts := []string{name, strings.TrimPrefix(version, "v"), runtime.GOARCH, key}
	entry := strings.ReplaceAll(strings.Join(parts, "-"), "--", "-")
	return s.entry(ctx, entry, func(ctx context.Context, dir string) error {
		out, err := s.inModule(module, "go", "list", "-f", "{{.ImportPath}}", "tool").run(ctx)
		if err != nil {
			return err
		}
		// One after the other, so that a long build says where it is.
		tools := strings.Fields(out)
		for i, tool := range tools {
			if len(tools) > 3 {
				s.logf("%s: %d of %d: %s", name, i+1, len(tools), tool)
			}
			how := b.of(tool)
			args := append([]string{"go", "build", "-o", dir + "/"}, how.flags...)
			build := s.inModule(module, append(args, tool)...)
			build.env = how.env
			if _, err := build.run(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// inModule is a command that runs in the directory of a module of this checkout.
func (s *Store) inModule(module string, args ...string) command {
	return command{dir: filepath.Join(s.Checkout, module), args: args}
}
