package cluster

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestUsersAndGroupsOfTheGuest(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  securityContext: {runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000, supplementalGroups: [4000], runAsNonRoot: true}
  containers:
  - {name: c, image: WEB, volumeMounts: [{name: data, mountPath: /data}]}
  - {name: other, image: WEB, args: [serve, "8081"], securityContext: {runAsUser: 1001}}
  volumes: [{name: data, emptyDir: {}}]
`)
	s.ready("p")
	contains(t, s.does("exec", "p", "-c", "c", "--", "id"), "uid=1000", "gid=2000", "3000", "4000")
	contains(t, s.does("exec", "p", "-c", "other", "--", "id"), "uid=1001", "gid=2000")
	// Of the guest itself, as the kernel tells.
	contains(t, s.does("exec", "p", "-c", "c", "--", "cat", "/proc/1/status"), "Uid:\t1000\t1000\t1000\t1000", "Gid:\t2000", "Groups:\t2000 3000 4000")
	s.does("exec", "p", "-c", "c", "--", "/tools/probe.wasm", "put", "/data/file", "text")
	contains(t, s.does("exec", "p", "-c", "c", "--", "stat", "-c", "%u %g", "/data/file"), "1000 3000")
}

func TestRootUserIsRefusedWhereThePodForbidsIt(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  securityContext: {runAsNonRoot: true}
  containers: [{name: c, image: WEB}]
`)
	s.waits("p", "CreateContainerConfigError")
}

func TestReadOnlyRootFilesystem(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  containers:
  - {name: root, image: PROBE, args: [put, /tmp/file, text], securityContext: &readonly {readOnlyRootFilesystem: true}}
  - {name: volume, image: PROBE, args: [put, /data/file, text], securityContext: *readonly, volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, emptyDir: {}}]
`)
	p := s.ended("p")
	contains(t, s.log("p", "root"), "Read-only file system")
	if e := terminated(t, p, "volume"); e.ExitCode != 0 {
		t.Errorf("a volume cannot be written to: %s", s.log("p", "volume"))
	}
}

func TestSeccompCapabilitiesAndSysctls(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  securityContext:
    seccompProfile: {type: RuntimeDefault}
    sysctls:
    - {name: net.ipv4.ip_unprivileged_port_start, value: "80"}
    - {name: net.core.somaxconn, value: "321"}
    - {name: kernel.shm_rmid_forced, value: "1"}
  containers:
  - name: c
    image: WEB
    args: [serve, "80"]
    securityContext: {runAsUser: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [CHOWN]}}
  - {name: root, image: WEB, securityContext: {capabilities: {drop: [ALL], add: [NET_ADMIN]}}}
`)
	ip := s.ready("p").Status.PodIP
	s.answers("http://"+ip+":80/", "(wasm)")
	contains(t, s.does("exec", "p", "-c", "c", "--", "cat", "/proc/1/status"), "Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000001")
	contains(t, s.does("exec", "p", "-c", "root", "--", "cat", "/proc/1/status"), "CapBnd:\t0000000000001000")
	for name, want := range map[string]string{"net/ipv4/ip_unprivileged_port_start": "80", "net/core/somaxconn": "321", "kernel/shm_rmid_forced": "1"} {
		if got := strings.TrimSpace(s.does("exec", "p", "-c", "c", "--", "cat", "/proc/sys/"+name)); got != want {
			t.Errorf("sysctl %s is %s, not %s", name, got, want)
		}
	}
}

// The node's owner has put a profile into kubelet's directory.
func TestSeccompProfileOfTheNode(t *testing.T) {
	s := newSpace(t)
	const dir = "/var/lib/kubelet/seccomp"
	profile := `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["unlink", "unlinkat"], "action": "SCMP_ACT_ERRNO"}]}`
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/keep-files.json", []byte(profile), 0o644)); err != nil {
		t.Fatal(err)
	}
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers:
  - {name: kept, image: WEB, securityContext: {seccompProfile: {type: Localhost, localhostProfile: keep-files.json}}}
  - {name: free, image: WEB, args: [serve, "8081"]}
---
apiVersion: v1
kind: Pod
metadata: {name: missing}
spec:
  runtimeClassName: wasm
  containers: [{name: c, image: WEB, securityContext: {seccompProfile: {type: Localhost, localhostProfile: not-there.json}}}]
`)
	s.ready("p")
	for _, container := range []string{"kept", "free"} {
		s.does("exec", "p", "-c", container, "--", "/tools/probe.wasm", "put", "/tmp/file", "text")
		out, err := s.kubectl("exec", "p", "-c", container, "--", "/tools/probe.wasm", "remove", "/tmp/file")
		if refused := err != nil && strings.Contains(out, "not permitted"); refused != (container == "kept") {
			t.Errorf("container %s removes a file: %v, %s", container, err, out)
		}
	}
	s.described("missing", "not-there.json")
}

func TestPodSecurityRestrictedAdmitsAndRunsAWasmPod(t *testing.T) {
	s := newSpace(t)
	s.does("label", "namespace", s.name, "pod-security.kubernetes.io/enforce=restricted")
	err := s.tryCreate(`
apiVersion: v1
kind: Pod
metadata: {name: refused}
spec: {runtimeClassName: wasm, containers: [{name: c, image: WEB}]}
`)
	if err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		t.Errorf("a Pod without a security context: %v", err)
	}
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: c
    image: WEB
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`)
	s.answers("http://"+s.ready("p").Status.PodIP+":8080/", "(wasm)")
}
