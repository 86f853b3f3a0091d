package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/cluster/node"
)

func TestServiceAndDNSBetweenGuests(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      runtimeClassName: wasm
      containers:
      - {name: c, image: WEB, env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  containers:
  - {name: short, image: WEB, args: [until, "web:80/"]}
  - {name: full, image: WEB, args: [until, "web.` + s.name + `.svc.cluster.local:80/"]}
`)
	s.available("web", 2)
	s.ended("client")
	for _, c := range []string{"short", "full"} {
		contains(t, s.log("client", c), "hello from web-", "(wasm)")
	}
	answered := map[string]bool{}
	s.until("both replicas behind the Service", func(context.Context) error {
		body, err := s.get("http://" + s.clusterIP("web") + "/")
		answered[body] = err == nil
		if len(answered) < 2 {
			return fmt.Errorf("answers: %v, %v", answered, err)
		}
		return nil
	})
	s.answers(fmt.Sprintf("http://%s:%s/", node.Address, s.does("get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}")), "hello from web-")
}

func TestWasmAndLinuxContainersTalkOverLoopback(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers:
  - {name: guest, image: WEB, args: [serve, "8080"]}
  - {name: sidecar, image: LINUX, args: [serve, "9090"]}
`)
	ip := s.ready("p").Status.PodIP
	s.answers("http://"+ip+":8080/call/127.0.0.1:9090/", "(linux)")
	s.answers("http://"+ip+":9090/call/127.0.0.1:8080/", "(wasm)")
	s.answers("http://"+ip+":8080/call/localhost:9090/", "(linux)")
}

func TestHostNetwork(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  hostNetwork: true
  containers: [{name: c, image: WEB, args: [serve, "18080"]}]
`)
	if p := s.ready("p"); p.Status.PodIP != node.Address {
		t.Errorf("the Pod's address is %s, not the node's", p.Status.PodIP)
	}
	s.answers("http://127.0.0.1:18080/", "(wasm)")
	contains(t, s.does("exec", "p", "--", "hostname"), node.Name)
}

func TestHostPort(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers: [{name: c, image: WEB, ports: [{containerPort: 8080, hostPort: 18081}]}]
`)
	s.ready("p")
	s.answers("http://"+node.Address+":18081/", "(wasm)")
}

func TestHostAliasesAndDNSConfigReachTheGuest(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 9090}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: web}}
spec:
  runtimeClassName: wasm
  hostname: named
  subdomain: web
  hostAliases: [{ip: 127.0.0.1, hostnames: [db.example]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [` + dnsService + `], searches: [svc.cluster.local], options: [{name: ndots, value: "2"}]}
  containers: [{name: c, image: WEB}, {name: other, image: WEB, args: [serve, "9090"]}]
`)
	ip := s.ready("p").Status.PodIP
	base := "http://" + ip + ":8080"
	s.answers(base+"/call/db.example:9090/", "(wasm)")
	s.answers(base+"/call/web."+s.name+":80/", "(wasm)")
	resolv, err := s.get(base + "/file/etc/resolv.conf")
	if err != nil || strings.Contains(resolv, s.name) {
		t.Errorf("resolv.conf: %q, %v", resolv, err)
	}
	contains(t, resolv, "search svc.cluster.local", "nameserver "+dnsService, "options ndots:2")
	contains(t, s.does("exec", "p", "-c", "c", "--", "hostname"), "named")
}

func TestSharedProcessNamespace(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  shareProcessNamespace: true
  containers:
  - {name: guest, image: WEB}
  - {name: native, image: BUSYBOX, args: [sleep, "1000"]}
`)
	s.ready("p")
	contains(t, s.does("exec", "p", "-c", "guest", "--", "ps"), " pause\n", "sleep 1000", "/web.wasm")
	contains(t, s.does("exec", "p", "-c", "native", "--", "/bin/busybox", "ps"), " pause\n", "/web.wasm")
}
