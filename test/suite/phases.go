package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// otherModules are Go modules with programs of their own beside the project's.
var otherModules = []string{clusterModule, kindModule, "test/bench/plot"}

// lint counts each check as one test.
func (s *suite) lint(ctx context.Context) error {
	goFiles, scripts, err := s.sources()
	if err != nil {
		return err
	}
	if out, err := s.output(ctx, append([]string{"gofmt", "-l"}, goFiles...)...); err != nil {
		s.tally.fail("lint/gofmt", err.Error())
	} else if out != "" {
		s.tally.fail("lint/gofmt", "not formatted:\n"+out)
	} else {
		s.tally.pass("lint/gofmt")
	}
	s.check(ctx, "lint/vet", "go", "vet", "./...")
	for _, m := range otherModules {
		s.check(ctx, "lint/vet "+m, "go", "-C", m, "vet", "./...")
	}
	staticcheck, err := s.store.Staticcheck(ctx)
	if err != nil {
		return err
	}
	s.check(ctx, "lint/staticcheck", staticcheck, "./...")
	for _, m := range otherModules {
		s.check(ctx, "lint/staticcheck "+m, "env", "-C", m, staticcheck, "./...")
	}
	for _, f := range scripts {
		s.check(ctx, "lint/bash -n "+f, "bash", "-n", f)
	}
	if _, err := exec.LookPath("shellcheck"); err == nil && len(scripts) > 0 {
		s.check(ctx, "lint/shellcheck", append([]string{"shellcheck"}, scripts...)...)
	}
	return nil
}

// sources returns the Go files and the shell scripts of the checkout, by their
// paths in it.
func (s *suite) sources() (goFiles, scripts []string, _ error) {
	err := filepath.WalkDir(s.store.Checkout, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(s.store.Checkout, path)
		switch {
		case d.IsDir():
			if d.Name() == ".git" || rel == "bin" || d.Name() == "target" {
				return fs.SkipDir
			}
		case strings.HasSuffix(rel, ".go"):
			goFiles = append(goFiles, rel)
		case strings.HasSuffix(rel, ".sh") || rel == ".ci/run":
			scripts = append(scripts, rel)
		}
		return nil
	})
	return goFiles, scripts, err
}

func (s *suite) unit(ctx context.Context) error {
	list, err := s.output(ctx, "go", "list", "./...")
	if err != nil {
		return err
	}
	var static, others []string
	for _, p := range strings.Fields(list) {
		in := func(dirs []string) bool {
			return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasSuffix(p, dir[1:]) })
		}
		switch {
		case in(withPrograms):
		case in(withStaticBinary):
			static = append(static, p)
		default:
			others = append(others, p)
		}
	}
	args := []string{"go", "test", "-json", "-timeout", "15m"}
	if err := s.goTest(ctx, append(args, static...), []string{"CGO_ENABLED=0"}); err != nil {
		return err
	}
	if s.canRace(ctx) {
		args = append(args, "-race")
	} else {
		fmt.Println("without the race detector, which needs cgo and a C compiler")
	}
	return s.goTest(ctx, append(args, others...), nil)
}

// withStaticBinary are the packages whose test binaries run inside an empty
// root, so that they cannot be linked dynamically as the race detector wants.
var withStaticBinary = []string{"./sandbox"}

// withPrograms are the packages whose tests need the built programs: the shim
// behind real daemons, which takes longest and so begins, its protocol by itself,
// the compile process, the shim by containerd's own tests, a service as users have,
// the installation, and an interrupted benchmark.
var withPrograms = []string{"./test/e2e", "./test/task", "./test/compile", "./test/clientsuite", "./test/orders", "./test/node", "./test/bench"}

func (s *suite) canRace(ctx context.Context) bool {
	cgo, err := s.output(ctx, "go", "env", "CGO_ENABLED")
	return err == nil && strings.TrimSpace(cgo) == "1"
}

// endToEnd makes everything first, so that no test's time holds a build.
func (s *suite) endToEnd(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.bin, "containerd-shim-wasm-v1")); err != nil {
		return fmt.Errorf("run `make build` first: %w", err)
	}
	versions := provision.Versions
	if list := os.Getenv("E2E_DAEMONS"); list != "" {
		versions = strings.Split(list, ",")
	}
	for _, v := range versions {
		if _, err := s.store.Containerd(ctx, v); err != nil {
			return err
		}
	}
	for _, make := range []func(context.Context) (string, error){
		s.store.Runc, s.store.Busybox, s.store.Guests, s.store.PodNetwork, s.store.Registry, s.store.Python, s.store.ClientSuite, s.store.MariaDB,
	} {
		if _, err := make(ctx); err != nil {
			return err
		}
	}
	// What the builds wrote would be on its way to the disk for half a minute,
	// and hold up whatever waits for its journal.
	syscall.Sync()
	args := []string{"go", "test", "-json", "-count=1", "-p=2", "-parallel", strconv.Itoa(2 * runtime.NumCPU()), "-timeout", e2eTimeout()}
	if pattern := os.Getenv("E2E_RUN"); pattern != "" {
		args = append(args, "-run", pattern)
	}
	env := []string{"E2E_BIN=" + s.bin}
	if err := s.goTest(ctx, append(slices.Clone(args), changesTheClock), env); err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(withPrograms), func(p string) bool { return p == changesTheClock })
	// Most of the time a test waits, for a daemon, the disk or a clock, so more run
	// at a time than there are processors: two packages, and in test/e2e so many
	// tests. Each looks for what is left of itself alone. One that hangs leaves the
	// others enough of the time that CI has.
	return s.goTest(ctx, append(args, others...), env)
}

// changesTheClock is the package that sets the machine's clock, which certificates
// of other tests would not outlive. So it runs alone.
const changesTheClock = "./test/task"

// e2eTimeout is the time for one package: more where its long tests run whole.
func e2eTimeout() string {
	for _, long := range []string{"E2E_FAULTS", "E2E_CHURN", "E2E_STREAM"} {
		if os.Getenv(long) != "" {
			return "180m"
		}
	}
	return "25m"
}

// chart runs the tests of the Helm chart, which are a module of their own.
func (s *suite) chart(ctx context.Context) error {
	return s.goTestIn(ctx, filepath.Join(s.store.Checkout, "test/helm"), []string{"go", "test", "-json", "-trimpath", "./..."}, nil, s.tally)
}

// clientSuite runs all of containerd's client suite, with runc beside the shim,
// and prints the comparison.
func (s *suite) clientSuite(ctx context.Context) error {
	table := filepath.Join(s.bin, "client-suite.txt")
	args := []string{"go", "test", "-json", "-count=1", "-timeout", "60m", "./test/clientsuite"}
	if err := s.goTest(ctx, args, []string{"E2E_BIN=" + s.bin, "CLIENT_SUITE=full", "CLIENT_SUITE_TABLE=" + table}); err != nil {
		return err
	}
	b, err := os.ReadFile(table)
	fmt.Printf("\n%s", b)
	return err
}

// goTest runs `go test -json` in the checkout and tallies what it prints. A
// failed test is no error: the tally has it.
func (s *suite) goTest(ctx context.Context, args, env []string) error {
	return s.goTestIn(ctx, s.store.Checkout, args, env, s.tally)
}

// goTestIn does so anywhere, into any tally.
func (s *suite) goTestIn(ctx context.Context, dir string, args, env []string, t *tally) error {
	cmd := s.command(ctx, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	before := t.failed
	readErr := t.read(stdout)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && t.failed > before && ctx.Err() == nil {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("go test: %w\n%s", err, stderr)
	}
	return errors.Join(readErr, err)
}

// check runs a command that prints what is wrong and fails if anything is.
func (s *suite) check(ctx context.Context, name string, args ...string) {
	out, err := s.command(ctx, args...).CombinedOutput()
	if err != nil {
		s.tally.fail(name, fmt.Sprintf("%v\n%s", err, out))
		return
	}
	s.tally.pass(name)
}

func (s *suite) output(ctx context.Context, args ...string) (string, error) {
	out, err := s.command(ctx, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// command runs in the checkout. An interrupted one gets SIGTERM and a while to
// clean up.
func (s *suite) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = s.store.Checkout
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}
