package kind

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// patience is how long a command may take that has no limit of its own below it.
const patience = 5 * time.Minute

// owner is who owns a cluster and runs commands on it.
type owner struct{ t *testing.T }

// step runs a part of the test. The next ones need what it has done.
func (o *owner) step(name string, run func(*owner)) {
	o.t.Helper()
	ok := o.t.Run(name, func(t *testing.T) {
		step := &owner{t}
		t.Cleanup(func() {
			if t.Failed() {
				step.explain()
			}
		})
		run(step)
	})
	if !ok {
		o.t.FailNow()
	}
	theCluster.Say("%s", name)
}

// explain logs what an owner would look at.
func (o *owner) explain() {
	for _, args := range [][]string{
		{"kubectl", "get", "pods", "-A", "-o", "wide"}, {"kubectl", "describe", "pods"}, {"kubectl", "-n", "wasm-system", "describe", "pods"},
		{"kubectl", "-n", "wasm-system", "logs", "daemonset/wasm", "--tail=40"},
	} {
		ctx, cancel := context.WithTimeout(theRun, time.Minute)
		out, _ := theCluster.Run(ctx, "", args...)
		cancel()
		o.t.Logf("%s\n%s", strings.Join(args, " "), out)
	}
	ctx, cancel := context.WithTimeout(theRun, time.Minute)
	defer cancel()
	out, _ := theCluster.OnNode(ctx, "sh", "-c", "journalctl -o short-precise --no-pager | grep 'systemd.1.: .*scope' | tail -40")
	o.t.Logf("the node's journal of scopes\n%s", out)
}

func (o *owner) tries(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(theRun, patience)
	defer cancel()
	return theCluster.Run(ctx, "", args...)
}

// does runs a command that has to succeed and returns all its output.
func (o *owner) does(args ...string) string {
	o.t.Helper()
	out, err := o.tries(args...)
	if err != nil {
		o.t.Fatal(err)
	}
	return out
}

func (o *owner) apply(text string) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(theRun, patience)
	defer cancel()
	if _, err := theCluster.Run(ctx, text, "kubectl", "apply", "--validate=strict", "-f", "-"); err != nil {
		o.t.Fatal(err)
	}
}

func (o *owner) ready(what string) {
	o.t.Helper()
	o.does("kubectl", "wait", what, "--for=condition=Ready", "--timeout=90s")
}

// rolledOut waits until all nodes have the shim. `helm --wait` is content with all but
// maxUnavailable, which is none of one.
func (o *owner) rolledOut() {
	o.t.Helper()
	o.does("kubectl", "-n", "wasm-system", "rollout", "status", "daemonset/wasm", "--timeout=4m")
}

func (o *owner) onNode(args ...string) string {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(theRun, patience)
	defer cancel()
	out, err := theCluster.OnNode(ctx, args...)
	if err != nil {
		o.t.Fatal(err)
	}
	return out
}

// daemonProcess names the process of the node's containerd.
func (o *owner) daemonProcess() string {
	o.t.Helper()
	return o.onNode("systemctl", "show", "containerd", "--property", "MainPID")
}

// restarts lists the Pods of a namespace with how often their containers were
// started again.
func (o *owner) restarts(namespace string) string {
	o.t.Helper()
	return o.does("kubectl", "-n", namespace, "get", "pods", "--sort-by=.metadata.name", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.containerStatuses[*].restartCount}{"\n"}{end}`)
}

func (o *owner) contains(text string, parts ...string) {
	o.t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			o.t.Errorf("%q is not in %q", p, text)
		}
	}
}

// loadImages gives the node the images of the tests' Pods.
func (o *owner) loadImages() {
	o.t.Helper()
	for _, img := range []struct {
		ref   string
		entry []string
		files map[string]string
	}{
		{"localhost/web:wasm", []string{"/web.wasm", "serve", "8080"}, map[string]string{
			"/web.wasm": theCluster.programs.Guests["web"], "/tools/probe.wasm": theCluster.programs.Guests["probe-c"]}},
		{"localhost/busybox:1", []string{"/bin/busybox", "sh"}, map[string]string{"/bin/busybox": theCluster.programs.Busybox}},
	} {
		files := map[string][]byte{"/tmp/": nil}
		for name, from := range img.files {
			b, err := os.ReadFile(from)
			if err != nil {
				o.t.Fatal(err)
			}
			files[name] = b
			if name == "/bin/busybox" {
				files["/bin/wget"] = b // it is the command of its name
			}
		}
		archive := filepath.Join(o.t.TempDir(), "image.tar")
		if err := (scratchimage.Image{Ref: img.ref, Files: files, Entrypoint: img.entry}).Write(archive); err != nil {
			o.t.Fatal(err)
		}
		o.does("kind", "load", "image-archive", archive, "--name", theCluster.Name)
	}
}
