package cluster

import (
	"io"
	"log"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	corev1 "k8s.io/api/core/v1"

	"github.com/wasmshim/containerd-shim-wasm/test/cluster/node"
)

// The recommended shape, by the commands that the documentation gives.
func TestImageIsPackedPushedAndPulledByKubelet(t *testing.T) {
	s := newSpace(t)
	l, err := net.Listen("tcp", node.Address+":"+registryPort)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })

	ref, tar := l.Addr().String()+"/acme/app:v1", filepath.Join(t.TempDir(), "app.tar")
	pack := exec.Command(filepath.Join(s.programs.Shim, "wasmctl"), "pack", s.programs.Guests["probe-c"], "-t", ref, "-o", tar)
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, args := range [][]string{
		{"images", "import", "--all-platforms", tar},
		{"images", "push", "--plain-http", ref},
		{"images", "rm", "--sync", ref}, // so that it has to be pulled
	} {
		if err := s.ctr(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  containers: [{name: c, image: "` + ref + `", imagePullPolicy: Always, args: [hello]}]
`)
	if p := s.ended("p"); p.Status.Phase != corev1.PodSucceeded {
		t.Errorf("the Pod: %s", status(p))
	}
	contains(t, s.log("p", "c"), "hello from probe-c")
	s.described("p", "Successfully pulled image \""+ref+"\"")
}
