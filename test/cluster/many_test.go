package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// manyTime is for all Pods of one kind. It is no measure: those of a full run
// share two processors.
const manyTime = 20 * time.Minute

// fleet is many Pods of one kind: what runs in them and what was measured.
type fleet struct {
	kind, class, image string

	ready []time.Duration // of each Pod, from the request to its condition
	gone  time.Duration   // of all together
	pss   []int64         // of each Pod with its shim, in bytes
	shims []int64         // of the shims alone
	// start is the processor time that each Pod's shim and first process, which are in
	// no container's cgroup, have taken until the Pod was Ready and had served. idle is
	// what they take in idleTime then.
	start, idle []time.Duration
}

// idleTime is as long as a kubelet collects statistics once or twice.
const idleTime = time.Minute

// TestManyPodsBecomeReadyServeAndGoAway runs a few Pods, or as many as
// CLUSTER_PODS says, and with that prints what they cost: first of Wasm, then of
// the same program in runc. No other test runs meanwhile.
func TestManyPodsBecomeReadyServeAndGoAway(t *testing.T) {
	pods := 5
	text := os.Getenv("CLUSTER_PODS")
	if text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPods-10 {
			t.Fatalf("CLUSTER_PODS=%s is not a number of Pods below %d", text, maxPods-10)
		}
		pods = n
	}
	s := space{Cluster: theCluster, t: t, name: "many"}
	s.begin()
	fleets := []*fleet{{kind: "wasm", class: "wasm", image: WebImage}, {kind: "runc", image: NativeWebImage}}
	for _, f := range fleets {
		// The first Pod of a kind compiles its module and warms up caches.
		s.deploy(&fleet{class: f.class, image: f.image}, 1, false)
		s.deploy(f, pods, text != "")
	}
	if text == "" {
		return
	}
	for _, f := range fleets {
		slices.Sort(f.ready)
		slices.Sort(f.pss)
		slices.Sort(f.shims)
		slices.Sort(f.start)
		slices.Sort(f.idle)
		s.say("%d Pods, %s: Ready after p50 %.2f s, p99 %.2f s, all after %.1f s; PSS of a Pod with its shim p50 %.1f MB (the shim %.1f MB); all gone after %.1f s",
			pods, f.kind, percentile(f.ready, 50).Seconds(), percentile(f.ready, 99).Seconds(), f.ready[len(f.ready)-1].Seconds(),
			float64(percentile(f.pss, 50))/1e6, float64(percentile(f.shims, 50))/1e6, f.gone.Seconds())
		s.say("%d Pods, %s: processor time beside the containers until Ready p50 %v, p99 %v; idle in %v p50 %v, p99 %v", pods, f.kind,
			percentile(f.start, 50), percentile(f.start, 99), idleTime, percentile(f.idle, 50), percentile(f.idle, 99))
	}
}

func percentile[T any](sorted []T, p int) T { return sorted[min(len(sorted)-1, len(sorted)*p/100)] }

// deploy runs the Pods of a fleet from their creation to their end. For the figures of
// idle Pods it waits.
func (s *space) deploy(f *fleet, pods int, idle bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), manyTime)
	defer cancel()
	api := s.Client.CoreV1().Pods(s.name)
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	events, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		s.t.Fatal(err)
	}
	defer events.Stop()

	began := map[string]time.Time{}
	for i := range pods {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", i)},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: f.image}}},
		}
		if f.class != "" {
			p.Spec.RuntimeClassName = &f.class
		}
		began[p.Name] = time.Now()
		if _, err := api.Create(ctx, p, metav1.CreateOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
	running := map[string]*corev1.Pod{}
	s.follow(events, func(e watch.Event, p *corev1.Pod) bool {
		if running[p.Name] == nil && isReady(p) {
			running[p.Name] = p
			f.ready = append(f.ready, time.Since(began[p.Name]))
		}
		return len(running) == pods
	})
	for _, p := range running {
		s.answers("http://"+p.Status.PodIP+":8080/", "hello from")
	}
	overhead := f.weigh(s.t, running)
	if idle {
		before := times(overhead)
		time.Sleep(idleTime)
		for i, after := range times(overhead) {
			f.start, f.idle = append(f.start, before[i]), append(f.idle, after-before[i])
		}
	}

	last := time.Now()
	if err := api.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		s.t.Fatal(err)
	}
	s.follow(events, func(e watch.Event, p *corev1.Pod) bool {
		if e.Type == watch.Deleted {
			delete(running, p.Name)
		}
		return len(running) == 0
	})
	f.gone = time.Since(last)
}

// follow hands over the events of Pods until that is enough.
func (s *space) follow(events watch.Interface, enough func(watch.Event, *corev1.Pod) bool) {
	s.t.Helper()
	for e := range events.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if !ok {
			s.t.Fatalf("watch the Pods: %+v", e.Object)
		}
		if enough(e, p) {
			return
		}
	}
	s.t.Fatal("the Pods took too long")
}

// weigh adds the proportional set sizes of the processes of each Pod: its
// containers', by their cgroup, and their parent's, which is its shim. It returns the
// processes of each Pod that are no container's: its shim, and its first process.
func (f *fleet) weigh(t *testing.T, pods map[string]*corev1.Pod) (overhead [][]int) {
	t.Helper()
	processes, err := listProcesses()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		var sum, shim int64
		counted := map[int]bool{}
		var beside []int
		for pid, proc := range processes {
			if !strings.Contains(proc.cgroup, "pod"+string(p.UID)) {
				continue
			}
			sum += proc.pss
			if !strings.Contains(proc.cgroup, strings.TrimPrefix(p.Status.ContainerStatuses[0].ContainerID, "containerd://")) {
				beside = append(beside, pid)
			}
			parent := processes[proc.parent]
			if strings.HasPrefix(parent.name, "containerd-shim") && !counted[proc.parent] {
				counted[proc.parent] = true
				beside = append(beside, proc.parent)
				sum, shim = sum+parent.pss, shim+parent.pss
			}
		}
		if len(counted) != 1 {
			t.Errorf("Pod %s has %d shims", p.Name, len(counted))
		}
		f.pss, f.shims, overhead = append(f.pss, sum), append(f.shims, shim), append(overhead, beside)
	}
	return overhead
}

// times returns the processor time that each group of processes has taken.
func times(groups [][]int) (all []time.Duration) {
	for _, pids := range groups {
		var sum time.Duration
		for _, pid := range pids {
			threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
			for _, file := range threads {
				b, _ := os.ReadFile(file)
				var ns int64
				if _, err := fmt.Sscan(string(b), &ns); err == nil {
					sum += time.Duration(ns)
				}
			}
		}
		all = append(all, sum)
	}
	return all
}
