package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/vm"
)

const (
	// vmTime is many times what the virtual machine needs on an idle host.
	vmTime = 40 * time.Minute
	// vmDaemon is the containerd version in it.
	vmDaemon = "2.4"
)

// vmPrograms are the tests that run in the virtual machine: what depends on the
// version of cgroups, and of the rest enough to show that all works together. It
// is too slow for tests that repeat themselves. It has neither the plugins of a Pod's
// network nor Go.
var vmPrograms = []struct{ dir, run, skip string }{
	{"sandbox/cgroup", ".", "OnV1$"},
	{"test/task", ".", "EveryState|KilledInCreate|KeepsTheOrder|OnV1$"},
	{"test/e2e", "Kubelet|Oom|MemoryLimit|Metrics|Pause|RuncContainer|ShareAGroup|KilledAfterStart|FurtherModule", "^TestPod|EveryShape"},
}

// virtualMachine runs tests where cgroup v2 is all there is.
func (s *suite) virtualMachine(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, vmTime, fmt.Errorf("not done within %v", vmTime))
	defer cancel()
	dir, err := os.MkdirTemp("", "cdwasm-tests-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m, err := s.machine(ctx, dir)
	if err != nil {
		return err
	}
	before := s.tally.failed
	err = m.Run(ctx, func(p vm.Program, output io.Reader) error {
		cmd := s.command(ctx, "go", "tool", "test2json", "-t", "-p", p.Package)
		cmd.Stdin, cmd.Stderr = output, os.Stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		return errors.Join(s.tally.read(stdout), cmd.Wait())
	})
	if _, failed := errors.AsType[*vm.ExitError](err); failed && s.tally.failed > before {
		return nil // its tests are counted
	}
	return err
}

// machine describes the machine with programs that are built in dir.
func (s *suite) machine(ctx context.Context, dir string) (*vm.Machine, error) {
	emulator, err := s.store.Emulator(ctx)
	if err != nil {
		return nil, err
	}
	kernel, modules, err := s.store.Kernel(ctx)
	if err != nil {
		return nil, err
	}
	busybox, err := s.store.Busybox(ctx)
	if err != nil {
		return nil, err
	}
	m := &vm.Machine{
		Emulator: emulator,
		Kernel:   kernel,
		Modules:  modules,
		Busybox:  busybox,
		Files: map[string]string{
			"/bin/shim":             s.bin,
			"/src/go.mod":           filepath.Join(s.store.Checkout, "go.mod"),
			"/src/sandbox/testdata": filepath.Join(s.store.Checkout, "sandbox/testdata"),
		},
	}
	shipped, err := s.store.Ship(ctx, vmDaemon)
	if err != nil {
		return nil, err
	}
	for name, file := range shipped {
		m.Files[path.Join("/shipped", name)] = file
	}
	m.Programs, err = s.testPrograms(ctx, dir)
	return m, err
}

func (s *suite) testPrograms(ctx context.Context, dir string) ([]vm.Program, error) {
	var all []vm.Program
	for _, p := range vmPrograms {
		file := filepath.Join(dir, filepath.Base(p.dir)+".test")
		build := s.command(ctx, "go", "test", "-c", "-tags", "machine", "-trimpath", "-ldflags", "-s -w", "-o", file, "./"+p.dir)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the tests of %s: %w\n%s", p.dir, err, out)
		}
		pattern := p.run
		if env := os.Getenv("E2E_RUN"); env != "" {
			pattern = env
		}
		all = append(all, vm.Program{
			Package: path.Join(module, p.dir) + "@cgroup2",
			File:    file,
			Dir:     path.Join("/src", p.dir),
			Env:     []string{"E2E_BIN=/bin/shim", "E2E_SHIPPED=/shipped", "E2E_DAEMONS=" + vmDaemon},
			Args:    []string{"-test.v=test2json", "-test.run=" + pattern, "-test.skip=" + p.skip, "-test.timeout=" + vmTime.String()},
		})
	}
	return all, nil
}

// module is the project's path in Go's terms.
const module = "github.com/wasmshim/containerd-shim-wasm"
