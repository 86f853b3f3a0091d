package cluster

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// patience is how long a test waits for what takes a second on an idle machine.
const patience = 90 * time.Second

// space is the Kubernetes namespace of one test.
type space struct {
	*Cluster
	t    *testing.T
	name string
	// longer is added to the patience of a test with a large guest to compile.
	longer time.Duration
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// newSpace begins a test: it gets a namespace, and runs beside the others.
func newSpace(t *testing.T) *space {
	t.Helper()
	t.Parallel()
	s := &space{Cluster: theCluster, t: t, name: strings.Trim(notInNames.ReplaceAllString(strings.ToLower(t.Name()[len("Test"):]), "-"), "-")}
	s.name = s.name[:min(len(s.name), 60)]
	s.begin()
	return s
}

// begin makes the namespace, and ends it with the test.
func (s *space) begin() {
	s.t.Helper()
	t := s.t
	s.create(`{apiVersion: v1, kind: Namespace, metadata: {name: ` + s.name + `}}`)
	t.Cleanup(func() {
		if t.Failed() {
			s.explain()
		}
		// Its Pods go away while other tests run; Drain waits for all.
		if err := s.Client.CoreV1().Namespaces().Delete(context.Background(), s.name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	// A Pod is refused before its namespace has this.
	s.until("the default service account", func(ctx context.Context) error {
		_, err := s.Client.CoreV1().ServiceAccounts(s.name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// explain logs what a developer would look at.
func (s *space) explain() {
	for _, args := range [][]string{{"get", "pods", "-A", "-o", "wide"}, {"describe", "pods"}, {"describe", "horizontalpodautoscalers"}} {
		out, _ := s.Kubectl(context.Background(), append([]string{"-n", s.name}, args...)...).CombinedOutput()
		s.t.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
	}
}

// create makes the objects of a YAML text. In it, WEB, LINUX, PROBE and BUSYBOX
// stand for the images of these programs.
func (s *space) create(text string) {
	s.t.Helper()
	if err := s.tryCreate(text); err != nil {
		s.t.Fatal(err)
	}
}

var images = strings.NewReplacer("image: WEB", "image: "+WebImage, "image: LINUX", "image: "+NativeWebImage,
	"image: PROBE", "image: "+ProbeImage, "image: BUSYBOX", "image: "+BusyboxImage)

func (s *space) tryCreate(text string) error {
	return s.Create(s.t.Context(), s.name, images.Replace(text))
}

// until waits for what the API has no event for.
func (s *space) until(what string, ask func(context.Context) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience+s.longer)
	defer cancel()
	if err := s.Cluster.until(ctx, what, ask); err != nil {
		s.t.Fatal(err)
	}
}

// pod waits until the Pod is as wanted, and returns it.
func (s *space) pod(name, what string, wanted func(*corev1.Pod) bool) *corev1.Pod {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience+s.longer)
	defer cancel()
	selector := fields.OneTermEqualSelector("metadata.name", name).String()
	pods := s.Client.CoreV1().Pods(s.name)
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return pods.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return pods.Watch(ctx, o)
		},
	}
	var last *corev1.Pod
	_, err := watchtools.UntilWithSync(ctx, source, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
		p, ok := e.Object.(*corev1.Pod)
		if !ok || e.Type == watch.Deleted {
			return false, nil
		}
		last = p
		return wanted(p), nil
	})
	if err != nil {
		s.t.Fatalf("Pod %s is not %s: %v\n%s", name, what, err, status(last))
	}
	return last
}

func status(p *corev1.Pod) string {
	if p == nil {
		return "there is no such Pod"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\n", p.Status.Phase, p.Status.Reason, p.Status.Message)
	for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
		fmt.Fprintf(&b, "%s: %v, last: %v\n", c.Name, c.State.String(), c.LastTerminationState.String())
	}
	return b.String()
}

// ready waits until the Pod is.
func (s *space) ready(name string) *corev1.Pod {
	s.t.Helper()
	return s.pod(name, "Ready", isReady)
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// ended waits until all containers of the Pod have ended for good.
func (s *space) ended(name string) *corev1.Pod {
	s.t.Helper()
	return s.pod(name, "at its end", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
}

// terminated is how a container has ended.
func terminated(t *testing.T, p *corev1.Pod, container string) corev1.ContainerStateTerminated {
	t.Helper()
	for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
		if c.Name == container && c.State.Terminated != nil {
			return *c.State.Terminated
		}
	}
	t.Fatalf("container %s has not ended\n%s", container, status(p))
	return corev1.ContainerStateTerminated{}
}

// log returns what a container has printed.
func (s *space) log(pod, container string) string {
	s.t.Helper()
	b, err := s.Client.CoreV1().Pods(s.name).GetLogs(pod, &corev1.PodLogOptions{Container: container}).DoRaw(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// kubectl runs it in the test's namespace and returns all its output.
func (s *space) kubectl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	out, err := s.Kubectl(ctx, append([]string{"-n", s.name}, args...)...).CombinedOutput()
	return string(out), err
}

// does is kubectl that has to succeed.
func (s *space) does(args ...string) string {
	s.t.Helper()
	out, err := s.kubectl(args...)
	if err != nil {
		s.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// described waits until `kubectl describe` has all parts of a Pod: its events come
// some time after what they tell of.
func (s *space) described(pod string, parts ...string) {
	s.t.Helper()
	s.until("the description of "+pod, func(context.Context) error {
		text, err := s.kubectl("describe", "pod", pod)
		if err != nil {
			return err
		}
		if m := missing(text, parts); len(m) > 0 {
			return fmt.Errorf("%q is not in %q", m, text)
		}
		return nil
	})
}

// get asks a service of the cluster from the node.
func (s *space) get(url string) (string, error) {
	return fetch(s.t.Context(), url)
}

// contains fails the test unless the text has all parts.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	if m := missing(text, parts); len(m) > 0 {
		t.Errorf("%q is not in %q", m, text)
	}
}

// missing returns those parts that the text has not.
func missing(text string, parts []string) []string {
	return slices.DeleteFunc(slices.Clone(parts), func(p string) bool { return strings.Contains(text, p) })
}
