package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	installerImage   = "localhost/wasm-node-installer"
	readyLabel       = "io.containerd.wasm.v1/ready"
	uninstallRequest = "io.containerd.wasm.v1/uninstall"
)

// charted is a Pod of the chart's RuntimeClass, by its name.
const charted = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  runtimeClassName: charted
  terminationGracePeriodSeconds: 1
  tolerations: [{operator: Exists}]
  containers: [{name: c, image: %s}]
`

// The chart from install to uninstall, on a node that has nothing of the shim. That
// node has no systemd: containerd is restarted by a command.
func TestChartInstallsUpgradesAndUninstalls(t *testing.T) {
	s := newSpace(t)
	n := s.startSecondNode()
	before := s.node(secondNode)
	config, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}

	s.helm("install", "wasm", s.programs.Chart, "--wait", "--set", strings.Join([]string{
		"image.tag=1", "handler=charted", "runtimeClass.name=charted", `nodeSelector.kubernetes\.io/hostname=` + secondNode,
		"node.config=" + n.config, "node.containerd=" + filepath.Join(s.programs.Containerd, "containerd"), "node.socket=" + n.socket,
		"node.prefix=" + filepath.Join(n.state, "programs"), "node.state=" + n.state,
	}, ","), "--set-string", "node.restartCommand="+strings.ReplaceAll(n.restart, ",", `\,`))
	s.does("rollout", "status", "daemonset/wasm", "--timeout="+patience.String())
	s.labelled(secondNode, "true")
	s.create(fmt.Sprintf(charted, "old", WebImage))
	old := s.ready("old")
	s.answers("http://"+old.Status.PodIP+":8080/", "(wasm)")
	contains(t, s.helm("test", "wasm", "--logs"), "Phase:          Succeeded", "WebAssembly")

	// Without its rights an agent says so; an upgrade gives them back. It brings another
	// version and another option, and Pods go on.
	s.does("delete", "clusterrolebinding", "wasm")
	s.says("daemonset/wasm", "the API server says 403")
	s.helm("upgrade", "wasm", s.programs.Chart, "--wait", "--reuse-values", "--set", "image.tag=2,options.AllowNative=false")
	s.does("rollout", "status", "daemonset/wasm", "--timeout="+patience.String())
	s.create(fmt.Sprintf(charted, "new", WebImage))
	s.answers("http://"+s.ready("new").Status.PodIP+":8080/", "(wasm)")
	s.answers("http://"+old.Status.PodIP+":8080/", "(wasm)")
	if p := s.ready("old"); p.UID != old.UID || p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the upgrade has restarted a Pod: %s", status(p))
	}
	s.create(fmt.Sprintf(charted, "native", NativeWebImage))
	s.described("native", "AllowNative")
	s.deleteOnSecond("native", "new")

	// The request to uninstall goes to every node that has the shim. One refuses.
	s.create(`{apiVersion: v1, kind: Node, metadata: {name: node-without-agent, labels: {` + readyLabel + `: "true"}}}`)
	s.refusesUninstall(`node ` + secondNode + `: handler "charted" runs Pods on this node: ` + s.name + `/old`)
	s.labelled(secondNode, "true")
	s.answers("http://"+old.Status.PodIP+":8080/", "(wasm)")
	s.deleteOnSecond("old")

	// Another does not answer. A release whose uninstalling failed takes an upgrade after
	// it was rolled back to what it is.
	s.helm("rollback", "wasm", "2")
	s.helm("upgrade", "wasm", s.programs.Chart, "--reuse-values", "--set", "uninstall.patience=10s")
	refused := make(chan struct{})
	go func() {
		defer close(refused)
		s.refusesUninstall("node-without-agent", "did not answer in 10s")
	}()
	t.Cleanup(func() { <-refused })
	// What it has begun by then is waited for.
	s.until("the request", func(context.Context) error {
		if s.node("node-without-agent").Annotations[uninstallRequest] == "" {
			return errors.New("it has not come")
		}
		return nil
	})
	s.does("label", "node", "node-without-agent", "--overwrite", readyLabel+"=false")
	s.says("job/wasm-uninstall", "node node-without-agent had begun")
	s.does("annotate", "node", "node-without-agent", uninstallRequest+"-refused=it comes too late")
	s.does("label", "node", "node-without-agent", "--overwrite", readyLabel+"=true")
	<-refused
	s.labelled("node-without-agent", "true")
	s.does("delete", "node", "node-without-agent")
	s.helm("rollback", "wasm", "2")

	s.helm("uninstall", "wasm", "--wait")
	s.deleteOnSecond("wasm-test") // which helm leaves
	s.until("the second node's Pods to go", s.noPodsOnSecond)
	after := s.node(secondNode)
	for _, m := range []map[string]string{before.Labels, before.Annotations, after.Labels, after.Annotations} {
		delete(m, "volumes.kubernetes.io/controller-managed-attach-detach")
		delete(m, "node.alpha.kubernetes.io/ttl") // the controller manager's, some time after the start
	}
	if !maps.Equal(after.Labels, before.Labels) || !maps.Equal(after.Annotations, before.Annotations) {
		t.Errorf("the Node had %v %v, and has %v %v", before.Labels, before.Annotations, after.Labels, after.Annotations)
	}
	if b, err := os.ReadFile(n.config); err != nil || string(b) != string(config) {
		t.Errorf("containerd's configuration, %v:\n%s", err, b)
	}
	if _, err := os.Stat(n.state); !errors.Is(err, fs.ErrNotExist) {
		left, _ := filepath.Glob(n.state + "/*")
		t.Errorf("%s is left on the node with %v: %v", n.state, left, err)
	}
	contains(t, s.does("get", "all,clusterroles,clusterrolebindings,serviceaccounts,runtimeclasses", "-l", "app.kubernetes.io/instance=wasm"), "No resources found")
}

// startSecondNode starts it for the test, with the installer's images, of which the hook
// needs one on any node.
func (s *space) startSecondNode() *second {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), startTime)
	defer cancel()
	n, err := s.startSecond(ctx)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := errors.Join(
			s.Client.AppsV1().DaemonSets(s.name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
			s.Client.CoreV1().Pods(s.name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
			s.Cluster.until(ctx, "the second node's Pods to go", s.noPodsOnSecond))
		n.stop()
		if err := errors.Join(err, s.Client.CoreV1().Nodes().Delete(ctx, secondNode, metav1.DeleteOptions{})); err != nil {
			s.t.Error(err)
		}
	})
	if err != nil {
		s.t.Fatalf("%v\n%s\n%s", err, s.Log("containerd-2", 20), s.Log("kubelet-2", 20))
	}
	for _, tar := range s.programs.Installers {
		if err := errors.Join(s.ctr(ctx, "images", "import", tar), n.ctr(ctx, "images", "import", tar)); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.copyImages(ctx, n.socket, pauseImage, WebImage, NativeWebImage); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// copyImages hands images of the first node to another daemon.
func (c *Cluster) copyImages(ctx context.Context, socket string, refs ...string) error {
	tar := c.path("copied.tar")
	defer os.Remove(tar)
	// Without --local ctr ends when the daemon has sent all, which ctr may not have written.
	if err := c.ctr(ctx, append([]string{"images", "export", "--local", tar}, refs...)...); err != nil {
		return err
	}
	return c.ctrAt(ctx, socket, "images", "import", tar)
}

// tryHelm runs helm in the test's namespace and returns all its output.
func (s *space) tryHelm(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.programs.Helm, "helm"), append([]string{"--namespace", s.name}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig(), "HOME="+s.path("home"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// helm is tryHelm that has to succeed.
func (s *space) helm(args ...string) string {
	s.t.Helper()
	out, err := s.tryHelm(args...)
	if err != nil {
		logs, _ := s.kubectl("logs", "daemonset/wasm", "--tail=20")
		s.t.Fatalf("helm %s: %v\n%s\n%s", strings.Join(args, " "), err, out, logs)
	}
	return out
}

// refusesUninstall fails the test unless `helm uninstall` fails and its hook says why.
func (s *space) refusesUninstall(parts ...string) {
	s.t.Helper()
	out, err := s.tryHelm("uninstall", "wasm")
	if err == nil {
		s.t.Errorf("helm has uninstalled the release: %s", out)
	}
	if logs, _ := s.kubectl("logs", "job/wasm-uninstall"); len(missing(logs, parts)) > 0 {
		pod, _ := s.kubectl("describe", "pod", "-l", "batch.kubernetes.io/job-name=wasm-uninstall")
		later, _ := s.kubectl("logs", "job/wasm-uninstall")
		s.t.Errorf("the uninstallation says %q and not %q\nlater: %s\nhelm: %v\n%s\n%s", logs, parts, later, err, out, pod)
	}
}

// says waits until a workload's log has a text.
func (s *space) says(of, text string) {
	s.t.Helper()
	s.until(of+" to say "+text, func(context.Context) error {
		out, err := s.kubectl("logs", of, "--tail=20")
		if err == nil && !strings.Contains(out, text) {
			err = errors.New(out)
		}
		return err
	})
}

func (s *space) node(name string) *corev1.Node {
	s.t.Helper()
	n, err := s.Client.CoreV1().Nodes().Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// labelled fails the test unless a Node has the label of the installer, and nothing is
// asked of its agent.
func (s *space) labelled(name, want string) {
	s.t.Helper()
	n := s.node(name)
	if n.Labels[readyLabel] != want {
		s.t.Errorf("the label of %s is %q", name, n.Labels[readyLabel])
	}
	for key, value := range n.Annotations {
		if strings.HasPrefix(key, "io.containerd.wasm.v1/") {
			s.t.Errorf("%s has the annotation %s: %s", name, key, value)
		}
	}
}

// deleteOnSecond deletes Pods and waits until they are gone.
func (s *space) deleteOnSecond(names ...string) {
	s.t.Helper()
	s.does(append([]string{"delete", "pod", "--timeout=" + (patience - time.Second).String()}, names...)...)
}

func (s *space) noPodsOnSecond(ctx context.Context) error {
	pods, err := s.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, p := range pods.Items {
		if p.Spec.NodeName == secondNode {
			return fmt.Errorf("%s/%s is left", p.Namespace, p.Name)
		}
	}
	return nil
}
