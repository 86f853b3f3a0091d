package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// createVolume makes a PersistentVolume of a directory of the node.
func (s *space) createVolume(name, class string) {
	s.t.Helper()
	dir := s.path("volumes", name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		s.t.Fatal(err)
	}
	s.create(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: ` + name + `}
spec:
  storageClassName: ` + class + `
  capacity: {storage: 1Mi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: ` + dir + `, type: Directory}
`)
}

func TestConfigurationArrivesByEveryWay(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {COLOUR: green, file.conf: "listen = 8080\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {TOKEN: very secret}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {tier: front}, annotations: {note: seen}}
spec:
  runtimeClassName: wasm
  containers:
  - name: c
    image: WEB
    envFrom: [{configMapRef: {name: settings}, prefix: MAP_}, {secretRef: {name: keys}}]
    env:
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: ONE, valueFrom: {configMapKeyRef: {name: settings, key: COLOUR}}}
    - {name: COMPOSED, value: $(ONE)-$(POD_NAME)}
    resources: {limits: {memory: 64Mi}}
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: keys, mountPath: /keys, readOnly: true}
    - {name: all, mountPath: /all}
    - {name: settings, mountPath: /one.conf, subPath: file.conf}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
  - name: all
    projected:
      sources:
      - configMap: {name: settings}
      - secret: {name: keys, items: [{key: TOKEN, path: secret/token}]}
      - serviceAccountToken: {path: account, expirationSeconds: 3600}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
`)
	p := s.ready("p")
	base := "http://" + p.Status.PodIP + ":8080"
	s.answers(base, "hello") // without a probe, Ready is not yet serving
	for path, want := range map[string]string{
		"/env/MAP_COLOUR":          "green",
		"/env/TOKEN":               "very secret",
		"/env/POD_NAME":            "p",
		"/env/POD_IP":              p.Status.PodIP,
		"/env/MEMORY":              "64",
		"/env/COMPOSED":            "green-p",
		"/file/settings/file.conf": "listen = 8080",
		"/file/keys/TOKEN":         "very secret",
		"/file/one.conf":           "listen = 8080",
		"/file/all/COLOUR":         "green",
		"/file/all/secret/token":   "very secret",
		"/file/all/labels":         `tier="front"`,
		"/file/all/account":        "ey", // a JSON Web Token begins so
		"/env/KUBERNETES_PORT":     "tcp://" + apiService + ":443",
		"/file/etc/hosts":          p.Status.PodIP,
		"/file/etc/hostname":       "p",
		"/file/var/run/secrets/kubernetes.io/serviceaccount/namespace": s.name,
	} {
		if body, err := s.get(base + path); err != nil || !strings.HasPrefix(body, want) && !strings.Contains(body, want+"\t") {
			t.Errorf("%s: %q, %v; want %q", path, body, err, want)
		}
	}
}

// A variable stays as it was, a file changes under the running guest.
func TestChangedConfigMapReachesARunningGuest(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: green}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers:
  - name: c
    image: WEB
    env: [{name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}]
    volumeMounts: [{name: settings, mountPath: /settings}]
  volumes: [{name: settings, configMap: {name: settings}}]
`)
	p := s.ready("p")
	base := "http://" + p.Status.PodIP + ":8080"
	s.answers(base+"/file/settings/colour", "green")
	s.does("patch", "configmap", "settings", "-p", `{"data": {"colour": "blue"}}`)
	n := 0
	s.until("the file to change", func(ctx context.Context) error {
		// kubelet looks at its volumes once a minute, and when a Pod changes.
		n++
		patch := fmt.Sprintf(`{"metadata": {"annotations": {"looks": "%d"}}}`, n)
		if _, err := s.Client.CoreV1().Pods(s.name).Patch(ctx, "p", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			return err
		}
		text, err := s.get(base + "/file/settings/colour")
		if err == nil && text != "blue" {
			err = errors.New(text)
		}
		return err
	})
	s.answers(base+"/env/COLOUR", "green")
	if now := s.ready("p"); now.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the container was restarted: %s", status(now))
	}
}

func TestEmptyDirIsSharedByWasmAndNativeContainers(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  initContainers:
  - {name: guest, image: PROBE, args: [put, /disk/a, from wasm], volumeMounts: &mounts [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]}
  - {name: native, image: BUSYBOX, args: [sh, -c, "echo from linux > /memory/b"], volumeMounts: *mounts}
  containers:
  - {name: guest-reads, image: PROBE, args: [read, /memory/b], volumeMounts: *mounts}
  - {name: native-reads, image: BUSYBOX, args: [cat, /disk/a], volumeMounts: *mounts}
  - {name: in-memory, image: PROBE, args: [read, /proc/self/mounts], volumeMounts: *mounts}
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
`)
	s.ended("p")
	contains(t, s.log("p", "guest-reads"), "from linux")
	contains(t, s.log("p", "native-reads"), "from wasm")
	contains(t, s.log("p", "in-memory"), "tmpfs /memory tmpfs", "size=1024k")
}

func TestPersistentVolumeOutlivesThePod(t *testing.T) {
	s := newSpace(t)
	s.createVolume(s.name, s.name)
	s.create(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {storageClassName: ` + s.name + `, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writes}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  containers: [{name: c, image: PROBE, args: [put, /data/file, kept], volumeMounts: [{name: data, mountPath: /data, subPath: below}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`)
	s.ended("writes")
	s.deletePod("writes")
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: reads}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  containers:
  - name: c
    image: PROBE
    args: [read, /data/file]
    env: [{name: DIR, value: below}]
    volumeMounts: [{name: data, mountPath: /data, subPathExpr: $(DIR), readOnly: true}]
  - {name: refused, image: PROBE, args: [put, /data/file, changed], volumeMounts: [{name: data, mountPath: /data, subPath: below, readOnly: true}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`)
	p := s.ended("reads")
	contains(t, s.log("reads", "c"), "kept")
	if e := terminated(t, p, "refused"); e.ExitCode != 1 {
		t.Errorf("a write to a read-only volume ends with %d", e.ExitCode)
	}
	contains(t, s.log("reads", "refused"), "Read-only file system")
}
