package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/cluster/node"
	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// theCluster is what all tests of a run share.
var theCluster *Cluster

// Variables that tell the process inside the node what the one outside has found.
const (
	programsVariable = "CDWASM_CLUSTER_PROGRAMS"
	dirVariable      = "CDWASM_CLUSTER_DIR"
)

func TestMain(m *testing.M) {
	node.Stage()
	run := runInside
	if !node.Inside() {
		run = runOutside
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// runOutside makes everything that needs the machine's network, and a node in
// which these tests run.
func runOutside(*testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	store, err := provision.Open(os.Stderr)
	if err != nil {
		return 0, err
	}
	programs, err := makePrograms(ctx, store)
	if err != nil {
		return 0, err
	}
	place, err := daemon.NewPlace()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, place.Remove(context.Background())) }()
	dir, temporary := filepath.Join(place.Dir, "cluster"), filepath.Join(place.Dir, "tmp")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(temporary, 0o755), os.Chmod(place.Dir, 0o755)); err != nil {
		return 0, err
	}
	if programs.Installers, err = makeInstallers(ctx, store, programs.Shim, place.Dir); err != nil {
		return 0, err
	}
	described, err := json.Marshal(programs)
	if err != nil {
		return 0, err
	}
	return node.Run(ctx, node.Config{Dir: place.Dir, Env: append(os.Environ(), place.Mark(),
		programsVariable+"="+string(described), dirVariable+"="+dir, "TMPDIR="+temporary)})
}

func makePrograms(ctx context.Context, store *provision.Store) (p Programs, err error) {
	p.Shim = os.Getenv("E2E_BIN")
	if _, err := os.Stat(filepath.Join(p.Shim, "wasm-runner")); err != nil {
		return p, fmt.Errorf("E2E_BIN is the directory of the project's programs: %w", err)
	}
	p.RuntimeClass = filepath.Join(store.Checkout, "deploy/runtimeclass.yaml")
	p.Chart = filepath.Join(store.Checkout, "charts/containerd-shim-wasm")
	p.Guests = map[string]string{}
	for _, name := range []string{"web", "grpc-go", "hello-c", "probe-c", "probe-go", "probe-rust"} {
		if p.Guests[name], err = store.Guest(ctx, name); err != nil {
			return p, err
		}
	}
	if err := store.NetworkFilter(ctx); err != nil {
		return p, err
	}
	for _, f := range []struct {
		path *string
		make func(context.Context) (string, error)
	}{
		{&p.Kubernetes, store.Kubernetes},
		{&p.Containerd, func(ctx context.Context) (string, error) { return store.Containerd(ctx, "2.4") }},
		{&p.Runc, store.Runc},
		{&p.Helm, store.Helm},
		{&p.Registry, store.Registry},
		{&p.Daprd, store.Daprd},
		{&p.Busybox, store.Busybox},
		{&p.Web, func(ctx context.Context) (string, error) { return store.Native(ctx, "web") }},
	} {
		if *f.path, err = f.make(ctx); err != nil {
			return p, err
		}
	}
	return p, nil
}

// makeInstallers makes the installer's image of the programs, and a second one with a
// runner that is another file and does the same.
func makeInstallers(ctx context.Context, store *provision.Store, bin, dir string) (files [2]string, _ error) {
	next := filepath.Join(dir, "next")
	if err := os.CopyFS(next, os.DirFS(bin)); err != nil {
		return files, err
	}
	runner := filepath.Join(next, "wasm-runner")
	b, err := os.ReadFile(runner)
	if err == nil {
		err = os.WriteFile(runner, append(b, "of the next version"...), 0o755)
	}
	if err != nil {
		return files, err
	}
	for i, programs := range []string{bin, next} {
		files[i] = filepath.Join(dir, fmt.Sprintf("installer-%d.tar", i+1))
		cmd := exec.CommandContext(ctx, "go", "run", "./deploy/image", "-bin", programs, "-tag", fmt.Sprintf("%s:%d", installerImage, i+1), "-o", files[i])
		cmd.Dir = store.Checkout
		if out, err := cmd.CombinedOutput(); err != nil {
			return files, fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
	}
	return files, nil
}

// runInside brings the cluster up for all tests, and says what is left of their
// Pods when they are done.
func runInside(m *testing.M) (code int, err error) {
	ctx := context.Background()
	var p Programs
	if err := json.Unmarshal([]byte(os.Getenv(programsVariable)), &p); err != nil {
		return 0, err
	}
	theCluster, err = Start(ctx, os.Getenv(dirVariable), p, os.Stderr)
	defer theCluster.Stop()
	if err != nil {
		keepLogs()
		return 0, err
	}
	code = m.Run()
	theCluster.say("tests")
	if err := theCluster.Drain(ctx); err != nil {
		keepLogs()
		return code, err
	}
	theCluster.say("nothing left of the Pods")
	if code != 0 {
		keepLogs()
	}
	return code, nil
}

// keepLogs copies the programs' logs to the directory that CLUSTER_LOGS names.
func keepLogs() {
	if dir := os.Getenv("CLUSTER_LOGS"); dir != "" {
		_ = os.RemoveAll(dir)
		_ = os.CopyFS(dir, os.DirFS(theCluster.path("logs")))
	}
}
