package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// waits waits until a container of the Pod does, for that reason, and returns the
// message.
func (s *space) waits(pod, reason string) string {
	s.t.Helper()
	var message string
	s.pod(pod, reason, func(p *corev1.Pod) bool {
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Waiting != nil && c.State.Waiting.Reason == reason {
				message = c.State.Waiting.Message
				return true
			}
		}
		return false
	})
	return message
}

func TestLifecycleHooks(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: listens}
spec: {runtimeClassName: wasm, containers: [{name: c, image: WEB}]}
`)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers:
  - name: c
    image: WEB
    lifecycle:
      postStart: {exec: {command: [/tools/probe.wasm, put, /tmp/started, by the hook]}}
      preStop: {httpGet: {host: "` + s.ready("listens").Status.PodIP + `", port: 8080, path: /log/stopping}}
`)
	p := s.ready("p")
	s.answers("http://"+p.Status.PodIP+":8080/file/tmp/started", "by the hook")
	s.deleted(p)
	s.until("the other Pod to have heard of the end", func(context.Context) error {
		if said := s.log("listens", "c"); !strings.Contains(said, "stopping") {
			return errors.New(said)
		}
		return nil
	})
}

// deleted deletes a Pod and returns what it was at its end.
func (s *space) deleted(p *corev1.Pod) (last *corev1.Pod) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	events, err := s.Client.CoreV1().Pods(s.name).Watch(ctx, metav1.ListOptions{
		ResourceVersion: p.ResourceVersion,
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", p.Name).String(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer events.Stop()
	s.deletePod(p.Name)
	s.follow(events, func(e watch.Event, p *corev1.Pod) bool {
		last = p
		return e.Type == watch.Deleted
	})
	return last
}

func TestProbesOfEveryKind(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: web}}
spec:
  runtimeClassName: wasm
  containers:
  - name: c
    image: WEB
    startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 60}
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {exec: {command: [ls, /tmp/dead]}, periodSeconds: 1, failureThreshold: 1000}
  - name: exec
    image: WEB
    args: [serve, "8081"]
    livenessProbe: {exec: {command: [cat, /etc/hosts]}, periodSeconds: 1}
    readinessProbe: {exec: {command: [/tools/probe.wasm, hello]}, periodSeconds: 1}
`)
	p := s.ready("p")
	base := "http://" + p.Status.PodIP + ":8080"
	s.answers(base+"/break", "")
	s.pod("p", "not Ready", func(p *corev1.Pod) bool { return !isReady(p) })
	s.until("the Service to have no ready endpoint", func(ctx context.Context) error {
		list, err := s.Client.DiscoveryV1().EndpointSlices(s.name).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
		if err != nil {
			return err
		}
		for _, slice := range list.Items {
			for _, e := range slice.Endpoints {
				if *e.Conditions.Ready {
					return fmt.Errorf("%v is ready", e.Addresses)
				}
			}
		}
		return nil
	})
	s.answers(base+"/fix", "")
	if p := s.ready("p"); p.Status.ContainerStatuses[0].RestartCount+p.Status.ContainerStatuses[1].RestartCount != 0 {
		t.Errorf("a container was restarted: %s", status(p))
	}
}

// The guest serves by google.golang.org/grpc, 20 MB of code.
func TestProbesByGRPC(t *testing.T) {
	s := newSpace(t)
	s.longer = 4 * time.Minute
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers:
  - name: c
    image: ` + GRPCImage + `
    args: ["9000"]
    startupProbe: {grpc: {port: 9000}, periodSeconds: 1, failureThreshold: 300}
    readinessProbe: {grpc: {port: 9000, service: orders}, periodSeconds: 1}
    livenessProbe: {grpc: {port: 9000}, periodSeconds: 1, failureThreshold: 10}
`)
	if p := s.ready("p"); p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the container was restarted: %s", status(p))
	}
	// A service that it does not serve.
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: unknown}
spec:
  runtimeClassName: wasm
  containers: [{name: c, image: ` + GRPCImage + `, args: ["9000"], readinessProbe: {grpc: {port: 9000, service: invoices}, periodSeconds: 1}}]
`)
	s.described("unknown", "Readiness probe failed: error: health rpc probe failed", "NotFound")
}

func TestLivenessProbeRestartsAGuestThatIsBroken(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers:
  - {name: c, image: WEB, livenessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1}}
`)
	s.answers("http://"+s.ready("p").Status.PodIP+":8080/break", "")
	p := s.pod("p", "restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && isReady(p) })
	if e := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; e == nil || e.ExitCode != 143 {
		t.Errorf("the broken guest has ended by %+v, not by SIGTERM", e)
	}
}

// The grace period is far longer than the test waits.
func TestTerminationEndsAGuestInsideItsGracePeriod(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: at-once}
spec: {runtimeClassName: wasm, terminationGracePeriodSeconds: 600, containers: [{name: c, image: WEB}]}
---
apiVersion: v1
kind: Pod
metadata: {name: drains, annotations: {io.containerd.wasm.v1/drain: 500s}}
spec: {runtimeClassName: wasm, terminationGracePeriodSeconds: 600, containers: [{name: c, image: WEB}]}
`)
	for name, want := range map[string]int32{"at-once": 143, "drains": 0} {
		if e := terminated(t, s.deleted(s.ready(name)), "c"); e.ExitCode != want {
			t.Errorf("%s ends with %d, not with %d", name, e.ExitCode, want)
		}
	}
}

func TestRestartPolicyAndBackOff(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: always}
spec: {runtimeClassName: wasm, containers: [{name: c, image: PROBE, args: [exit, "3"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: on-failure}
spec:
  runtimeClassName: wasm
  restartPolicy: OnFailure
  containers:
  - {name: fails, image: PROBE, args: [exit, "4"]}
  - {name: succeeds, image: PROBE, args: [hello]}
`)
	message := s.waits("always", "CrashLoopBackOff")
	contains(t, message, "back-off")
	p := s.pod("always", "restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount >= 2 })
	if e := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; e == nil || e.ExitCode != 3 {
		t.Errorf("the last end: %+v", e)
	}
	p = s.pod("on-failure", "restarted", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[0].RestartCount >= 1
	})
	if e := terminated(t, p, "succeeds"); e.ExitCode != 0 || p.Status.ContainerStatuses[1].RestartCount != 0 {
		t.Errorf("a container that succeeded: %s", status(p))
	}
}

func TestTerminationMessageTellsTheTrap(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  containers:
  - {name: traps, image: PROBE, args: [trap, unreachable], terminationMessagePolicy: FallbackToLogsOnError}
  - {name: writes, image: PROBE, args: [put, /dev/termination-log, by the guest]}
  - {name: elsewhere, image: PROBE, args: [put, /tmp/last-words, elsewhere], terminationMessagePath: /tmp/last-words}
  - {name: default, image: PROBE, args: [trap, bounds]}
`)
	p := s.ended("p")
	e := terminated(t, p, "traps")
	if e.ExitCode != 134 {
		t.Errorf("a trap ends with %d", e.ExitCode)
	}
	contains(t, e.Message, "unreachable", "reach_unreachable")
	contains(t, terminated(t, p, "writes").Message, "by the guest")
	contains(t, terminated(t, p, "elsewhere").Message, "elsewhere")
	contains(t, terminated(t, p, "default").Message, "out of bounds", "read_out_of_bounds")
	s.described("p", "reach_unreachable", "read_out_of_bounds")
}

func TestOOMKilled(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  containers: [{name: c, image: PROBE, args: [allocate, "200"], resources: {limits: {memory: 64Mi}}}]
`)
	if e := terminated(t, s.ended("p"), "c"); e.Reason != "OOMKilled" || e.ExitCode != 137 {
		t.Errorf("a guest over its limit ends with %d, %s: %s", e.ExitCode, e.Reason, e.Message)
	}
}

func TestLimitsAreThoseOfTheCgroupAndResizeInPlace(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers:
  - name: c
    image: WEB
    resources: {requests: {memory: 32Mi, cpu: 50m}, limits: {memory: 64Mi, cpu: 100m}}
    resizePolicy: [{resourceName: memory, restartPolicy: NotRequired}, {resourceName: cpu, restartPolicy: NotRequired}]
`)
	p := s.ready("p")
	if got := containerMemoryLimit(t, p, "c"); got != 64<<20 {
		t.Errorf("the container may have %d bytes", got)
	}
	patch := `{"spec": {"containers": [{"name": "c", "resources": {"requests": {"memory": "32Mi", "cpu": "60m"}, "limits": {"memory": "128Mi", "cpu": "200m"}}}]}}`
	if _, err := s.Client.CoreV1().Pods(s.name).Patch(t.Context(), "p", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "resize"); err != nil {
		t.Fatal(err)
	}
	p = s.pod("p", "resized", func(p *corev1.Pod) bool {
		r := p.Status.ContainerStatuses[0].Resources
		return r != nil && r.Limits.Memory().Value() == 128<<20 && r.Limits.Cpu().MilliValue() == 200
	})
	if got := containerMemoryLimit(t, p, "c"); got != 128<<20 || p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the container may have %d bytes: %s", got, status(p))
	}
}

func TestImageProblemsAreToldInOneSentence(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {runtimeClassName: wasm, containers: [{name: c, image: WEB, command: [/missing.wasm]}]}
`)
	message := s.waits("p", "RunContainerError")
	contains(t, message, "/missing.wasm")
}
