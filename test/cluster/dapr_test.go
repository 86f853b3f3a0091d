package cluster

import "testing"

// Dapr's sidecar is a native container beside the service, and they talk HTTP over
// the loopback in both directions: the service asks for state and for other
// services, and the sidecar hands in what others ask of it. The native program
// stands in for daprd, which with its hundreds of modules would be more to download
// and to build than all the rest of the cluster.
func TestASidecarInFrontOfAGuestAsDaprIs(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p, annotations: {dapr.io/enabled: "true", dapr.io/app-id: orders, dapr.io/app-port: "8080"}}
spec:
  runtimeClassName: wasm
  containers:
  - {name: app, image: WEB, env: [{name: POD_NAME, value: orders}, {name: DAPR_HTTP_PORT, value: "3500"}]}
  - {name: daprd, image: LINUX, args: [serve, "3500"], env: [{name: STATE, value: kept}]}
`)
	ip := s.ready("p").Status.PodIP
	// From outside through the sidecar into the guest, and from the guest to the sidecar.
	s.answers("http://"+ip+":3500/call/127.0.0.1:8080/", "hello from orders (wasm)")
	s.answers("http://"+ip+":8080/call/localhost:3500/env/STATE", "kept")
}
