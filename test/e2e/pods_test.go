package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

const nativeRef = "localhost/native:1"

// podVersions are those on which Pods are tested: all.
var podVersions = []string{"2.4", "2.2", "1.7", "1.6"}

// criPod is a Pod that runs.
type criPod struct {
	k      *kubelet
	id     string
	config *cri.PodSandboxConfig
	// cgroup is the Pod's, as kubelet makes it.
	cgroup string
	// gone: the test has removed it.
	gone bool
}

// runPod runs a Pod with a network of its own; change may change what is asked
// for. The Pod is removed when the test ends.
func (k *kubelet) runPod(t *testing.T, change func(c *cri.PodSandboxConfig)) *criPod {
	t.Helper()
	p := &criPod{k: k, cgroup: "/" + k.h.Namespace + "/pod"}
	podCgroup(t, p.cgroup)
	p.config = &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: "pod", Uid: k.h.Namespace, Namespace: "default"},
		Hostname:     "web-1",
		LogDirectory: t.TempDir(),
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: p.cgroup,
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
			},
		},
	}
	if change != nil {
		change(p.config)
	}
	r, err := k.RunPodSandbox(t.Context(), &cri.RunPodSandboxRequest{Config: p.config, RuntimeHandler: k.handler})
	if err != nil {
		t.Fatal(err)
	}
	p.id = r.PodSandboxId
	t.Cleanup(func() { p.remove(t) })
	return p
}

// remove stops and removes the Pod.
func (p *criPod) remove(t *testing.T) {
	t.Helper()
	if p.gone {
		return
	}
	p.gone = true
	ctx := context.Background()
	if _, err := p.k.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := p.k.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Errorf("remove: %v", err)
	}
	socket := p.k.h.Socket(daemon.CRINamespace, p.id)
	within(t, "the Pod's shim ends", func() bool { _, err := os.Stat(socket); return err != nil })
}

// start starts a container of the Pod, of the image and with these arguments.
func (p *criPod) start(t *testing.T, name, image string, args ...string) (id string) {
	t.Helper()
	return p.startAs(t, &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name},
		Image:    &cri.ImageSpec{Image: image},
		Args:     args,
		LogPath:  name + ".log",
	})
}

func (p *criPod) startAs(t *testing.T, config *cri.ContainerConfig) (id string) {
	t.Helper()
	if config.Linux == nil {
		config.Linux = &cri.LinuxContainerConfig{}
	}
	if config.Linux.SecurityContext == nil {
		config.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{}
	}
	// As kubelet does.
	config.Linux.SecurityContext.NamespaceOptions = p.config.Linux.SecurityContext.NamespaceOptions
	c, err := p.k.CreateContainer(t.Context(), &cri.CreateContainerRequest{PodSandboxId: p.id, SandboxConfig: p.config, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.k.StartContainer(t.Context(), &cri.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
		t.Fatal(err)
	}
	return c.ContainerId
}

// guest starts a Wasm container that sleeps, and sidecar a native one.
func (p *criPod) guest(t *testing.T) (id string) {
	t.Helper()
	return p.start(t, "guest", "localhost/probe-c:1", "sleep", "600")
}

func (p *criPod) sidecar(t *testing.T) (id string) {
	t.Helper()
	p.k.has(t, nativeRef, func() scratchimage.Image { return nativeImage(t, nativeRef) })
	return p.start(t, "sidecar", nativeRef, "/bin/busybox", "sleep", "600")
}

// command is a command for the container of that name: the guest has it built in.
func command(container string, args ...string) []string {
	if container == "guest" {
		return args
	}
	return append([]string{"/bin/busybox"}, args...)
}

// exec runs a command in a container and returns its output.
func (p *criPod) exec(t *testing.T, id string, cmd ...string) string {
	t.Helper()
	r, err := p.k.ExecSync(t.Context(), &cri.ExecSyncRequest{ContainerId: id, Cmd: cmd, Timeout: 60})
	if err != nil {
		t.Fatalf("execute %q: %v", cmd, err)
	}
	if r.ExitCode != 0 {
		t.Errorf("%q: exit code %d, %s", cmd, r.ExitCode, r.Stderr)
	}
	return string(r.Stdout)
}

// pid is that of a container's init.
func (p *criPod) pid(t *testing.T, id string) int {
	t.Helper()
	r, err := p.k.ContainerStatus(t.Context(), &cri.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ Pid int }
	if err := json.Unmarshal([]byte(r.Info["info"]), &info); err != nil {
		t.Fatal(err)
	}
	return info.Pid
}

// sandboxPid is what CRI knows the Pod's namespaces by.
func (p *criPod) sandboxPid(t *testing.T) int {
	t.Helper()
	r, err := p.k.PodSandboxStatus(t.Context(), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ Pid int }
	if err := json.Unmarshal([]byte(r.Info["info"]), &info); err != nil {
		t.Fatal(err)
	}
	return info.Pid
}

func (p *criPod) state(t *testing.T) cri.PodSandboxState {
	t.Helper()
	r, err := p.k.PodSandboxStatus(t.Context(), &cri.PodSandboxStatusRequest{PodSandboxId: p.id})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.State
}

// namespace is a namespace of a process, as the kernel names it.
func namespace(t *testing.T, pid int, kind string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// shares fails the test unless the processes are in one namespace of each kind.
func shares(t *testing.T, kinds []string, pids ...int) {
	t.Helper()
	for _, kind := range kinds {
		for _, pid := range pids[1:] {
			if a, b := namespace(t, pids[0], kind), namespace(t, pid, kind); a != b {
				t.Errorf("%s namespace: process %d has %s, process %d %s", kind, pids[0], a, pid, b)
			}
		}
	}
}

func (k *kubelet) imageRefs(t *testing.T) (refs []string) {
	t.Helper()
	r, err := k.images.ListImages(t.Context(), &cri.ListImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range r.Images {
		refs = append(refs, i.RepoTags...)
	}
	slices.Sort(refs)
	return refs
}

func TestPodGivesItsContainersWhatAPauseContainerDoes(t *testing.T) {
	onKubelet(t, podVersions, func(t *testing.T, k *kubelet) {
		p := k.runPod(t, func(c *cri.PodSandboxConfig) {
			c.DnsConfig = &cri.DNSConfig{Servers: []string{"10.96.0.10", "10.96.0.11"}, Searches: []string{"default.svc.cluster.local", "svc"}, Options: []string{"ndots:5"}}
			c.Linux.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "2048 65000"}
		})
		guest, sidecar := p.guest(t), p.sidecar(t)
		hosts, err := os.ReadFile("/etc/hosts")
		if err != nil {
			t.Fatal(err)
		}
		for name, id := range map[string]string{"guest": guest, "sidecar": sidecar} {
			for cmd, want := range map[string]string{
				"hostname":                                          "web-1\n",
				"cat /etc/hostname":                                 "web-1\n",
				"cat /etc/hosts":                                    string(hosts),
				"cat /etc/resolv.conf":                              "search default.svc.cluster.local svc\nnameserver 10.96.0.10\nnameserver 10.96.0.11\noptions ndots:5\n",
				"cat /proc/sys/kernel/shm_rmid_forced":              "1\n",
				"cat /proc/sys/net/ipv4/ip_local_port_range":        "2048\t65000\n",
				"cat /proc/sys/net/ipv4/ip_unprivileged_port_start": "0\n",
				"cat /proc/sys/net/ipv4/ping_group_range":           "0\t2147483647\n",
			} {
				if strings.HasPrefix(k.h.Version, "1.") && (strings.Contains(cmd, "unprivileged") || strings.Contains(cmd, "ping")) {
					continue // the default is another before 2.0
				}
				if got := p.exec(t, id, command(name, strings.Fields(cmd)...)...); got != want {
					t.Errorf("%s: %s gives %q, want %q", name, cmd, got, want)
				}
			}
			if got := p.exec(t, id, command(name, "df", "/dev/shm")...); !strings.Contains(got, " 65536 ") {
				t.Errorf("%s: the size of /dev/shm is not 64 MiB:\n%s", name, got)
			}
		}
		p.exec(t, sidecar, "/bin/busybox", "sh", "-c", "echo shared > /dev/shm/file")
		if got := p.exec(t, guest, "cat", "/dev/shm/file"); got != "shared\n" {
			t.Errorf("the guest finds %q in the Pod's /dev/shm", got)
		}
		sandbox := p.sandboxPid(t)
		shares(t, []string{"net", "ipc", "uts"}, sandbox, p.pid(t, guest), p.pid(t, sidecar))
		for _, kind := range []string{"net", "ipc", "uts"} {
			if namespace(t, sandbox, kind) == namespace(t, os.Getpid(), kind) {
				t.Errorf("the Pod is in the host's %s namespace", kind)
			}
		}
		if namespace(t, p.pid(t, guest), "pid") == namespace(t, p.pid(t, sidecar), "pid") {
			t.Error("the containers share their pid namespace")
		}
	})
}

func TestPodWithoutPauseContainerHasNoProcessAndNoImage(t *testing.T) {
	onOwnKubelet(t, []string{"2.4"}, func(t *testing.T, k *kubelet) {
		if k.handler != withoutPause {
			return
		}
		p := k.runPod(t, nil)
		if refs := k.imageRefs(t); !slices.Equal(refs, []string{"localhost/probe-c:1"}) {
			t.Errorf("images %q", refs)
		}
		shim := p.sandboxPid(t)
		if shims := k.h.shims(t); !slices.Equal(shims, []int{shim}) {
			t.Errorf("the Pod's pid is %d, the shims are %v", shim, shims)
		}
		pids, err := k.h.Scope().Processes()
		if err != nil {
			t.Fatal(err)
		}
		if pids = slices.DeleteFunc(pids, func(pid int) bool { return pid == k.h.Pid() }); !slices.Equal(pids, []int{shim}) {
			t.Errorf("processes %v, want only the shim, %d", pids, shim)
		}
		// One thread holds the namespaces; the others serve from the host's.
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/ns/net", shim))
		if err != nil {
			t.Fatal(err)
		}
		inside := 0
		for _, link := range threads {
			ns, err := os.Readlink(link)
			if err == nil && ns == namespace(t, shim, "net") {
				inside++
			}
		}
		if inside != 1 || len(threads) < 3 {
			t.Errorf("%d of %d threads are in the Pod's network namespace, want 1", inside, len(threads))
		}
		if _, err := k.StopPodSandbox(t.Context(), &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Fatal(err)
		}
		shares(t, []string{"net", "ipc", "uts"}, shim, os.Getpid())
		if got := p.state(t); got != cri.PodSandboxState_SANDBOX_NOTREADY {
			t.Errorf("the stopped Pod is %v", got)
		}
	})
}
