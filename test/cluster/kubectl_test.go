package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

const onePod = `
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {runtimeClassName: wasm, containers: [{name: c, image: WEB}]}
`

func TestKubectlLogs(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers: [{name: c, image: PROBE, args: [tick, "10", "200"]}]
`)
	s.pod("p", "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	var want strings.Builder
	for i := 1; i <= 10; i++ {
		fmt.Fprintf(&want, "tick %d\n", i)
	}
	if got := s.does("logs", "-f", "p"); got != want.String() {
		t.Errorf("logs -f of a guest that goes on printing: %q", got)
	}
	s.pod("p", "restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount > 0 })
	if got := s.does("logs", "--previous", "p"); got != want.String() {
		t.Errorf("logs of the instance before: %q", got)
	}
	contains(t, s.does("logs", "--previous", "--timestamps", "--tail=1", "p"), "Z tick 10")
}

func TestKubectlExec(t *testing.T) {
	s := newSpace(t)
	s.create(onePod)
	s.ready("p")
	contains(t, s.does("exec", "p", "--", "/tools/probe.wasm", "args", "one", "two"), "2=one\n3=two")
	contains(t, s.does("exec", "p", "--", "env"), "KUBERNETES_SERVICE_HOST="+apiService)
	_, err := s.kubectl("exec", "p", "--", "/tools/probe.wasm", "exit", "7")
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
		t.Errorf("a module that exits with 7: %v", err)
	}
	cmd := s.Kubectl(t.Context(), "-n", s.name, "exec", "-i", "p", "--", "/tools/probe.wasm", "cat")
	cmd.Stdin = strings.NewReader("through stdin")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "through stdin" {
		t.Errorf("stdin: %q, %v", out, err)
	}
	out, err := s.kubectl("exec", "p", "--", "sh")
	if err == nil {
		t.Error("a shell was executed")
	}
	contains(t, out, "sh", "help")
}

func TestKubectlAttach(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  containers: [{name: c, image: PROBE, args: [cat], stdin: true, stdinOnce: true}]
`)
	s.ready("p")
	cmd := s.Kubectl(t.Context(), "-n", s.name, "attach", "-i", "p")
	cmd.Stdin = strings.NewReader("to the guest\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("attach: %v\n%s", err, out)
	}
	contains(t, string(out), "to the guest")
	if e := terminated(t, s.ended("p"), "c"); e.ExitCode != 0 {
		t.Errorf("at the end of its stdin the guest ends with %d", e.ExitCode)
	}
}

func TestKubectlCopySaysWhatItNeeds(t *testing.T) {
	s := newSpace(t)
	s.create(onePod)
	s.ready("p")
	file := filepath.Join(t.TempDir(), "hosts")
	out, err := s.kubectl("cp", "p:/etc/hosts", file)
	if err == nil {
		t.Error("kubectl cp worked: docs/debugging.md says that it does not")
	}
	contains(t, out, "tar")
	// The way out that the documentation gives.
	contains(t, s.does("exec", "p", "--", "cat", "/etc/hosts"), "localhost")
}

func TestKubectlPortForward(t *testing.T) {
	s := newSpace(t)
	s.create(onePod)
	s.ready("p")
	s.forwards("p")
}

// The shim is the Pod's sandbox itself: no pause container.
func TestKubectlWithoutAPauseContainer(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: wasm-without-pause}
handler: wasm-without-pause
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {runtimeClassName: wasm-without-pause, containers: [{name: c, image: WEB}, {name: native, image: LINUX, args: [serve, "8081"]}]}
`)
	s.ready("p")
	s.forwards("p")
	contains(t, s.does("exec", "p", "-c", "c", "--", "cat", "/etc/hostname"), "p")
	contains(t, s.does("logs", "p", "-c", "c"), "serves on 8080")
	s.does("debug", "p", "--image="+BusyboxImage, "--container=look", "--target=c", "--attach=false", "--profile=general", "--", "/bin/busybox", "ps")
	s.pod("p", "with an ephemeral container that ended", func(p *corev1.Pod) bool {
		all := p.Status.EphemeralContainerStatuses
		return len(all) == 1 && all[0].State.Terminated != nil
	})
	contains(t, s.log("p", "look"), "/web.wasm")
}

// forwards asks the Pod's guest through `kubectl port-forward`.
func (s *space) forwards(pod string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	cmd := s.Kubectl(ctx, "-n", s.name, "port-forward", pod, ":8080")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	m := regexp.MustCompile(`127\.0\.0\.1:(\d+) -> 8080`).FindStringSubmatch(line)
	if m == nil {
		s.t.Fatalf("port-forward says %q, %v", line, err)
	}
	s.answers("http://127.0.0.1:"+m[1]+"/", "(wasm)")
}

func TestKubectlTop(t *testing.T) {
	s := newSpace(t)
	s.create(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  runtimeClassName: wasm
  containers: [{name: c, image: PROBE, args: [work, "32"], resources: {limits: {cpu: 100m}}}]
`)
	s.ready("p")
	s.until("kubectl top to show the Pod", func(ctx context.Context) error {
		out, err := s.kubectl("top", "pod", "p", "--containers", "--no-headers")
		f := strings.Fields(out)
		if err != nil || len(f) != 4 || f[2] == "0m" || f[3] == "0Mi" {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
}

func TestKubectlDescribeShowsTheEventsOfAGuest(t *testing.T) {
	s := newSpace(t)
	s.create(onePod)
	s.ready("p")
	s.described("p", "Runtime Class Name:  wasm", "containerd://", "Started", "Image:          "+WebImage)
}

func TestEphemeralContainersLookIntoAWasmPod(t *testing.T) {
	s := newSpace(t)
	s.create(onePod)
	s.ready("p")
	s.does("debug", "p", "--image="+BusyboxImage, "--container=native", "--target=c", "--attach=false", "--profile=general", "--", "/bin/busybox", "ps")
	s.does("debug", "p", "--image="+ProbeImage, "--container=guest", "--target=c", "--attach=false", "--profile=general", "--", "/probe.wasm", "list", "/proc/1")
	p := s.pod("p", "with two ephemeral containers that ended", func(p *corev1.Pod) bool {
		n := 0
		for _, c := range p.Status.EphemeralContainerStatuses {
			if c.State.Terminated != nil {
				n++
			}
		}
		return n == 2
	})
	contains(t, s.log("p", "native"), "/web.wasm")
	contains(t, s.log("p", "guest"), "cmdline")
	if !isReady(p) {
		t.Error("the Pod is not Ready any more")
	}
}

// What kubelet evicts and metrics-server counts by.
func TestKubeletsSummaryOfAWasmPod(t *testing.T) {
	s := newSpace(t)
	s.create(onePod)
	p := s.ready("p")
	s.answers("http://"+p.Status.PodIP+":8080/spin/20", "")
	s.until("kubelet's summary to count the Pod", func(ctx context.Context) error {
		b, err := s.Client.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes", p.Spec.NodeName, "proxy/stats/summary").DoRaw(ctx)
		if err != nil {
			return err
		}
		type usage struct {
			CPU          struct{ UsageCoreNanoSeconds uint64 }
			Memory       struct{ WorkingSetBytes uint64 }
			Rootfs, Logs struct{ UsedBytes *uint64 }
		}
		var summary struct {
			Pods []struct {
				PodRef struct{ Namespace, Name string }
				usage
				Containers []usage
				Network    struct{ RxBytes, TxBytes uint64 }
				Storage    struct{ UsedBytes uint64 } `json:"ephemeral-storage"`
			}
		}
		if err := json.Unmarshal(b, &summary); err != nil {
			return err
		}
		for _, pod := range summary.Pods {
			if pod.PodRef.Namespace != s.name {
				continue
			}
			if len(pod.Containers) != 1 {
				return fmt.Errorf("it has %d containers", len(pod.Containers))
			}
			c := pod.Containers[0]
			if c.CPU.UsageCoreNanoSeconds == 0 || c.Memory.WorkingSetBytes < 1<<20 || c.Rootfs.UsedBytes == nil || c.Logs.UsedBytes == nil ||
				pod.CPU.UsageCoreNanoSeconds < c.CPU.UsageCoreNanoSeconds || pod.Memory.WorkingSetBytes < c.Memory.WorkingSetBytes ||
				pod.Network.RxBytes == 0 || pod.Network.TxBytes == 0 || pod.Storage.UsedBytes == 0 {
				return fmt.Errorf("%+v", pod)
			}
			return nil
		}
		return errors.New("it is not there")
	})
}

func TestExecWithATerminal(t *testing.T) {
	s := newSpace(t)
	s.create(onePod)
	s.ready("p")
	url := s.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(s.name).Name("p").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"/tools/probe.wasm", "cat"}, Stdin: true, Stdout: true, TTY: true}, scheme.ParameterCodec).URL()
	e, err := remotecommand.NewWebSocketExecutor(s.Config, "GET", url.String())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	// A line, and what a keyboard sends for the end of input. The connection ends
	// with the process: containerd drops the output when its client's input ends.
	in, keyboard := io.Pipe()
	defer keyboard.Close()
	go func() { _, _ = keyboard.Write([]byte("typed\n\x04")) }()
	if err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: in, Stdout: &out, Tty: true}); err != nil {
		t.Fatal(err)
	}
	// Once by the terminal's echo and once by the guest.
	if got := strings.Count(out.String(), "typed\r\n"); got != 2 {
		t.Errorf("the terminal shows %q", out.String())
	}
}
