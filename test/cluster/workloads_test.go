package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wasmshim/containerd-shim-wasm/test/cluster/node"
)

func TestRuntimeClassRunsAWasmPodWithItsOverhead(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: guest}
spec:
  runtimeClassName: wasm
  containers: [{name: c, image: WEB, resources: {limits: {memory: 64Mi, cpu: 500m}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: native}
spec: {containers: [{name: c, image: LINUX}]}
`)
	p, native := s.ready("guest"), s.ready("native")
	class, err := s.Client.NodeV1().RuntimeClasses().Get(t.Context(), "wasm", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	overhead := class.Overhead.PodFixed
	if !overhead.Memory().Equal(*p.Spec.Overhead.Memory()) || overhead.Memory().IsZero() {
		t.Errorf("the class has overhead %v, its Pod %v", overhead, p.Spec.Overhead)
	}
	if got, want := podMemoryLimit(t, p), 64<<20+overhead.Memory().Value(); got != want {
		t.Errorf("the Pod's cgroup is limited to %d bytes, not to %d", got, want)
	}
	for pod, want := range map[*corev1.Pod]string{p: "(wasm)", native: "(linux)"} {
		s.answers("http://"+pod.Status.PodIP+":8080/", want)
	}
}

func TestDeploymentRollsOutScalesAndServes(t *testing.T) {
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
      - name: c
        image: WEB
        env: [{name: RELEASE, value: one}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`)
	s.available("web", 2)
	ip := s.clusterIP("web")
	s.answers("http://"+ip+"/env/RELEASE", "one")
	patch := `{"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "c", "env": [{"name": "RELEASE", "value": "two"}]}]}}}}`
	if _, err := s.Client.AppsV1().Deployments(s.name).Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s.available("web", 3)
	s.answers("http://"+ip+"/env/RELEASE", "two")
}

func TestJobsCountSuccessesAndFailures(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: batch/v1
kind: Job
metadata: {name: good}
spec:
  completions: 3
  parallelism: 2
  template:
    spec: {runtimeClassName: wasm, restartPolicy: Never, containers: [{name: c, image: PROBE, args: [hello]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: bad}
spec:
  backoffLimit: 0
  template:
    spec: {runtimeClassName: wasm, restartPolicy: Never, containers: [{name: c, image: PROBE, args: [exit, "7"]}]}
`)
	s.until("three successes and a failure", func(ctx context.Context) error {
		good, err := s.Client.BatchV1().Jobs(s.name).Get(ctx, "good", metav1.GetOptions{})
		if err != nil {
			return err
		}
		bad, err := s.Client.BatchV1().Jobs(s.name).Get(ctx, "bad", metav1.GetOptions{})
		if err == nil && (good.Status.Succeeded != 3 || bad.Status.Failed != 1) {
			err = fmt.Errorf("%+v, %+v", good.Status, bad.Status)
		}
		return err
	})
	for _, p := range s.pods("job-name=bad") {
		if e := terminated(t, &p, "c"); e.ExitCode != 7 {
			t.Errorf("exit code %d, not 7", e.ExitCode)
		}
	}
	for _, p := range s.pods("job-name=good") {
		contains(t, s.log(p.Name, "c"), "hello from probe-c")
	}
}

func TestCronJobRunsAtItsTime(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: batch/v1
kind: CronJob
metadata: {name: every-minute}
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      template:
        spec: {runtimeClassName: wasm, restartPolicy: Never, containers: [{name: c, image: PROBE, args: [hello]}]}
`)
	s.until("a Job that succeeded", func(ctx context.Context) error {
		list, err := s.Client.BatchV1().Jobs(s.name).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, j := range list.Items {
			if j.Status.Succeeded == 1 {
				return nil
			}
		}
		return fmt.Errorf("%d Jobs, none has succeeded", len(list.Items))
	})
}

func TestStatefulSetHasStableNamesAndKeepsItsVolumes(t *testing.T) {
	s := newSpace(t)
	for i := range 2 {
		s.createVolume(fmt.Sprintf("%s-%d", s.name, i), s.name)
	}
	s.create(`
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      runtimeClassName: wasm
      containers:
      - name: c
        image: WEB
        env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {storageClassName: ` + s.name + `, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
`)
	first, second := s.ready("db-0"), s.ready("db-1")
	s.answers("http://"+first.Status.PodIP+":8080/call/db-1.db:8080/", "hello from db-1 (wasm)")
	s.does("exec", "db-1", "--", "/tools/probe.wasm", "put", "/data/kept", "by db-1")
	s.deletePod(second.Name)
	again := s.pod("db-1", "Ready again", func(p *corev1.Pod) bool { return p.UID != second.UID && isReady(p) })
	s.answers("http://"+again.Status.PodIP+":8080/file/data/kept", "by db-1")
}

func TestDaemonSetRunsOnTheNode(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {runtimeClassName: wasm, containers: [{name: c, image: WEB}]}
`)
	s.until("the DaemonSet to be ready", func(ctx context.Context) error {
		d, err := s.Client.AppsV1().DaemonSets(s.name).Get(ctx, "agent", metav1.GetOptions{})
		if err == nil && (d.Status.DesiredNumberScheduled != 1 || d.Status.NumberReady != 1) {
			err = fmt.Errorf("%+v", d.Status)
		}
		return err
	})
}

func TestHorizontalPodAutoscalerSeesALoadedGuest(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      runtimeClassName: wasm
      containers: [{name: c, image: PROBE, args: [spin], resources: {requests: {cpu: 20m}, limits: {cpu: 100m}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  minReplicas: 1
  maxReplicas: 2
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
`)
	s.available("busy", 2)
}

// available waits until so many replicas of a Deployment are, all of its newest
// template.
func (s *space) available(name string, replicas int32) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d replicas of %s", replicas, name), func(ctx context.Context) error {
		d, err := s.Client.AppsV1().Deployments(s.name).Get(ctx, name, metav1.GetOptions{})
		if err == nil && (!isAvailable(d) || d.Status.UpdatedReplicas != replicas || d.Status.AvailableReplicas != replicas) {
			err = fmt.Errorf("%+v", d.Status)
		}
		return err
	})
}

func (s *space) clusterIP(service string) string {
	s.t.Helper()
	svc, err := s.Client.CoreV1().Services(s.name).Get(s.t.Context(), service, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return svc.Spec.ClusterIP
}

// answers waits for an answer that has the text.
func (s *space) answers(url, text string) {
	s.t.Helper()
	s.until(url, func(context.Context) error {
		body, err := s.get(url)
		if err == nil && !strings.Contains(body, text) {
			err = fmt.Errorf("%q is not in %q", text, body)
		}
		return err
	})
}

func (s *space) pods(selector string) []corev1.Pod {
	s.t.Helper()
	list, err := s.Client.CoreV1().Pods(s.name).List(s.t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err == nil && len(list.Items) == 0 {
		err = errors.New("no Pod has the labels " + selector)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return slices.Clone(list.Items)
}

func (s *space) deletePod(name string) {
	s.t.Helper()
	if err := s.Client.CoreV1().Pods(s.name).Delete(s.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func TestHandlerThatTheNodeDoesNotHaveIsNamed(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: elsewhere}
handler: elsewhere
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {runtimeClassName: elsewhere, containers: [{name: c, image: WEB}]}
`)
	s.described("p", `no runtime for "elsewhere" is configured`)
	err := s.tryCreate(`
apiVersion: v1
kind: Pod
metadata: {name: no-class}
spec: {runtimeClassName: no-class, containers: [{name: c, image: WEB}]}
`)
	if err == nil || !strings.Contains(err.Error(), `RuntimeClass "no-class" not found`) {
		t.Errorf("a class that is not there: %v", err)
	}
}

func TestRuntimeClassKeepsPodsOffNodesWithoutTheRuntime(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: on-some-nodes}
handler: wasm
scheduling: {nodeSelector: {example.com/wasm: "true"}}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {runtimeClassName: on-some-nodes, containers: [{name: c, image: WEB}]}
`)
	s.pod("p", "unschedulable", func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
				contains(t, c.Message, "didn't match Pod's node affinity/selector")
				return true
			}
		}
		return false
	})
	s.does("label", "node", node.Name, "example.com/wasm=true")
	s.ready("p")
}
