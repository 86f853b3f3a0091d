package cluster

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestInitContainersOfBothKindsRunInOrder(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  initContainers:
  - {name: guest, image: PROBE, args: [put, /shared/first, from the guest], volumeMounts: &shared [{name: shared, mountPath: /shared}]}
  - {name: native, image: BUSYBOX, args: [sh, -c, "cp /shared/first /shared/second"], volumeMounts: *shared}
  containers: [{name: c, image: PROBE, args: [read, /shared/second], volumeMounts: *shared}]
  volumes: [{name: shared, emptyDir: {}}]
`)
	p := s.ended("p")
	contains(t, s.log("p", "c"), "from the guest")
	for _, c := range []string{"guest", "native", "c"} {
		if e := terminated(t, p, c); e.ExitCode != 0 {
			t.Errorf("%s ended with %d", c, e.ExitCode)
		}
	}
}

func TestInitContainerThatFailsKeepsThePodFromStarting(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  initContainers: [{name: fails, image: PROBE, args: [exit, "3"]}]
  containers: [{name: c, image: PROBE, args: [hello]}]
`)
	p := s.ended("p")
	if e := terminated(t, p, "fails"); p.Status.Phase != corev1.PodFailed || e.ExitCode != 3 || p.Status.ContainerStatuses[0].State.Waiting == nil {
		t.Errorf("the Pod: %s", status(p))
	}
}

// Each kind of container is a sidecar of the other.
func TestRestartableInitContainersServeBeforeAndBesideTheMainOne(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  initContainers:
  - {name: guest, image: WEB, restartPolicy: Always, startupProbe: {httpGet: {port: 8080}, periodSeconds: 1}}
  - {name: native, image: LINUX, args: [serve, "9090"], restartPolicy: Always, startupProbe: {tcpSocket: {port: 9090}, periodSeconds: 1}}
  containers:
  - {name: asks-guest, image: LINUX, args: [get, "127.0.0.1:8080/"]}
  - {name: asks-native, image: WEB, args: [get, "127.0.0.1:9090/"]}
`)
	p := s.ended("p")
	if p.Status.Phase != corev1.PodSucceeded {
		t.Errorf("the Pod: %s", status(p))
	}
	contains(t, s.log("p", "asks-guest"), "(wasm)")
	contains(t, s.log("p", "asks-native"), "(linux)")
	// The sidecars are ended behind the main containers, as by any SIGTERM.
	for _, c := range []string{"guest", "native"} {
		if e := terminated(t, p, c); e.ExitCode != 143 {
			t.Errorf("sidecar %s ended with %d, not by SIGTERM", c, e.ExitCode)
		}
	}
}
