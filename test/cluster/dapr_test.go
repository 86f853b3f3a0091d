package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// Dapr's sidecar is a native container beside the service, and they talk HTTP over the
// loopback in both directions: the service asks for state, and the sidecar hands in what
// is published.
func TestDaprBesideAGuest(t *testing.T) {
	s := newSpace(t)
	daprd, err := os.ReadFile(s.programs.Daprd)
	if err != nil {
		t.Fatal(err)
	}
	const image = "localhost/daprd:1"
	if err := s.ImportImage(t.Context(), scratchimage.Image{Ref: image, Files: map[string][]byte{"/daprd": daprd}, Entrypoint: []string{"/daprd"}}); err != nil {
		t.Fatal(err)
	}
	s.create(`
apiVersion: v1
kind: ConfigMap
metadata: {name: resources}
data:
  store.yaml: '{apiVersion: dapr.io/v1alpha1, kind: Component, metadata: {name: store}, spec: {type: state.in-memory, version: v1}}'
  bus.yaml: '{apiVersion: dapr.io/v1alpha1, kind: Component, metadata: {name: bus}, spec: {type: pubsub.in-memory, version: v1}}'
  ordered.yaml: '{apiVersion: dapr.io/v2alpha1, kind: Subscription, metadata: {name: ordered}, spec: {pubsubname: bus, topic: orders, routes: {default: /log/ordered}}}'
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers:
  - {name: app, image: WEB}
  - name: daprd
    image: ` + image + `
    args: [--app-id=orders, --app-port=8080, --dapr-http-port=3500, --dapr-listen-addresses=0.0.0.0, --resources-path=/resources]
    readinessProbe: {httpGet: {path: /v1.0/healthz, port: 3500}, periodSeconds: 1}
    volumeMounts: [{name: resources, mountPath: /resources}]
  volumes: [{name: resources, configMap: {name: resources}}]
`)
	ip := s.ready("p").Status.PodIP
	s.post("http://"+ip+":3500/v1.0/state/store", `[{"key": "order", "value": "kept"}]`)
	s.answers("http://"+ip+":8080/call/localhost:3500/v1.0/state/store/order", "kept")
	s.post("http://"+ip+":3500/v1.0/publish/bus/orders", `{"number": 7}`)
	s.until("the guest to get the message", func(context.Context) error {
		if said := s.log("p", "app"); !strings.Contains(said, "ordered") {
			return fmt.Errorf("it says %q", said)
		}
		return nil
	})
}

// post sends JSON to a service of the cluster.
func (s *space) post(url, body string) {
	s.t.Helper()
	resp, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusNoContent {
		s.t.Fatalf("POST %s: %s, %s, %v", url, resp.Status, b, err)
	}
}
