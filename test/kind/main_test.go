package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/cluster/node"
	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// theCluster is what all tests of a run share, and theRun ends when it is
// interrupted: what remains of it fails at once, and the cluster is deleted.
var (
	theCluster *Cluster
	theRun     context.Context
)

// Variables that tell the process that has a Docker what the one before it has found.
const (
	programsVariable = "CDWASM_KIND_PROGRAMS"
	dirVariable      = "CDWASM_KIND_DIR"
)

func TestMain(m *testing.M) {
	BecomeRuntime()
	node.Stage()
	run := runInside
	if !node.Inside() {
		run = runOutside
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kind:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// runOutside makes everything that needs the machine's network, and finds a Docker:
// that of the machine, or one of its own in a machine of namespaces.
func runOutside(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	place, err := daemon.NewPlace()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, place.Remove(context.Background())) }()
	dir, temporary := filepath.Join(place.Dir, "kind"), filepath.Join(place.Dir, "tmp")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(temporary, 0o755), os.Chmod(place.Dir, 0o755)); err != nil {
		return 0, err
	}
	own := !Answers(ctx)
	programs, libraries, err := makePrograms(ctx, dir, own)
	if err != nil {
		return 0, err
	}
	if !own {
		return runTests(ctx, m, dir, programs)
	}
	described, err := json.Marshal(programs)
	if err != nil {
		return 0, err
	}
	return node.Run(ctx, node.Config{Dir: place.Dir, Env: append(os.Environ(), place.Mark(),
		programsVariable+"="+string(described), dirVariable+"="+dir, "TMPDIR="+temporary, "HOME="+dir,
		"PATH="+programs.Path+":"+os.Getenv("PATH"), "LD_LIBRARY_PATH="+libraries, "DOCKER_HOST=", "DOCKER_CONTEXT=")})
}

func makePrograms(ctx context.Context, dir string, withDocker bool) (p Programs, libraries string, err error) {
	bin := os.Getenv("E2E_BIN")
	if _, err := os.Stat(filepath.Join(bin, "wasm-runner")); err != nil {
		return p, "", fmt.Errorf("E2E_BIN is the directory of the project's programs: %w", err)
	}
	store, err := provision.Open(os.Stderr)
	if err != nil {
		return p, "", err
	}
	p.Checkout, p.Chart = store.Checkout, filepath.Join(store.Checkout, "charts/containerd-shim-wasm")
	p.Guests = map[string]string{}
	for _, name := range []string{"web", "probe-c"} {
		if p.Guests[name], err = store.Guest(ctx, name); err != nil {
			return p, "", err
		}
	}
	if err := store.NetworkFilter(ctx); err != nil {
		return p, "", err
	}
	var kind, kubernetes, helm string
	for _, f := range []struct {
		path *string
		make func(context.Context) (string, error)
	}{{&p.Node, store.KindNode}, {&kind, store.Kind}, {&kubernetes, store.Kubernetes}, {&helm, store.Helm}, {&p.Busybox, store.Busybox}} {
		if *f.path, err = f.make(ctx); err != nil {
			return p, "", err
		}
	}
	path := []string{filepath.Dir(kind), helm, kubernetes}
	if withDocker {
		docker, err := store.Docker(ctx)
		if err != nil {
			return p, "", err
		}
		path, libraries = append(path, docker.Path()), docker.Libraries()
	}
	p.Path = strings.Join(path, ":")
	p.Image = filepath.Join(dir, "wasm-node-installer.tar")
	image := exec.CommandContext(ctx, "go", "run", "./deploy/image", "-bin", bin, "-o", p.Image)
	image.Dir = store.Checkout
	if out, err := image.CombinedOutput(); err != nil {
		return p, "", fmt.Errorf("make the installer's image: %w\n%s", err, out)
	}
	return p, libraries, nil
}

// runInside runs the tests with a Docker of their own.
func runInside(m *testing.M) (code int, err error) {
	ctx := context.Background()
	var p Programs
	if err := json.Unmarshal([]byte(os.Getenv(programsVariable)), &p); err != nil {
		return 0, err
	}
	dir := os.Getenv(dirVariable)
	docker, err := StartDocker(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, docker.Stop()) }()
	return runTests(ctx, m, dir, p)
}

// runTests brings the cluster up for all tests, and removes it.
func runTests(ctx context.Context, m *testing.M, dir string, p Programs) (code int, err error) {
	// Others may run in the same Docker.
	name := fmt.Sprintf("wasm-%d", os.Getpid())
	theCluster, theRun = New(name, dir, p, os.Stderr), ctx
	defer func() { err = errors.Join(err, theCluster.Delete(context.WithoutCancel(ctx))) }()
	if err = theCluster.Create(ctx); err == nil {
		code = m.Run()
		theCluster.Say("tests")
	}
	if logs := os.Getenv("CLUSTER_LOGS"); logs != "" && ctx.Err() == nil && (err != nil || code != 0) {
		theCluster.KeepLogs(ctx, logs)
	}
	return code, err
}
