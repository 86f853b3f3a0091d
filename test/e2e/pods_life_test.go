package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/usage"
)

func TestPodSurvivesARestartOfContainerd(t *testing.T) {
	onOwnKubelet(t, podVersions, survivesARestart)
}

// What containerd 2.4 notes of a container that joined a shim does not lead back to a
// shim outside PATH.
func TestPodOfAnInstalledShimSurvivesARestartOfContainerd(t *testing.T) {
	forVersions(t, testedOf([]string{"2.4", "1.7"}), func(t *testing.T, version string) {
		onDaemonOfKubelet(t, own(t, kind{version, byPath}), survivesARestart)
	})
}

func survivesARestart(t *testing.T, k *kubelet) {
	p := k.runPod(t, nil)
	guest := p.guest(t)
	sandbox, pid := p.sandboxPid(t), p.pid(t, guest)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := k.h.Restart(t.Context(), sig); err != nil {
			t.Fatal(err)
		}
		within(t, "the CRI service answers", func() bool {
			_, err := k.Version(t.Context(), &cri.VersionRequest{})
			return err == nil
		})
		if got := p.state(t); got != cri.PodSandboxState_SANDBOX_READY || p.pid(t, guest) != pid {
			t.Errorf("after %v the Pod is %v, its guest process %d, before it was %d", sig, got, p.pid(t, guest), pid)
		}
		if got := p.exec(t, guest, "cat", "/etc/hostname"); got != "web-1\n" {
			t.Errorf("after %v its name is %q", sig, got)
		}
		// CRI loses what it does not know its own files by.
		another := p.start(t, "another-"+sig.String(), "localhost/probe-c:1", "sleep", "600")
		if got := p.exec(t, another, "cat", "/etc/hostname"); got != "web-1\n" {
			t.Errorf("after %v a new container's name is %q", sig, got)
		}
		shares(t, []string{"net", "ipc", "uts"}, sandbox, pid, p.pid(t, another))
		r, err := k.PodSandboxStats(t.Context(), &cri.PodSandboxStatsRequest{PodSandboxId: p.id})
		if err != nil || r.Stats.Linux.Memory.GetUsageBytes().GetValue() == 0 {
			t.Errorf("after %v: statistics %v, %v", sig, r, err)
		}
	}
}

// What is left is found when containerd stops.
func TestPodOfAKilledShimIsNotReadyAndLeavesNothing(t *testing.T) {
	onKubelet(t, podVersions, func(t *testing.T, k *kubelet) {
		for name, options := range map[string]*cri.NamespaceOption{
			"own":    {Pid: cri.NamespaceMode_CONTAINER},
			"shared": {Pid: cri.NamespaceMode_POD},
		} {
			t.Run(name, func(t *testing.T) {
				p := k.runPod(t, func(c *cri.PodSandboxConfig) { c.Linux.SecurityContext.NamespaceOptions = options })
				ids := []string{p.guest(t), p.sidecar(t)}
				k.h.killShims(t)
				within(t, "the Pod is not ready", func() bool {
					// While containerd finds out, the call fails.
					r, err := k.PodSandboxStatus(t.Context(), &cri.PodSandboxStatusRequest{PodSandboxId: p.id})
					return err == nil && r.Status.State == cri.PodSandboxState_SANDBOX_NOTREADY
				})
				within(t, "the containers have ended", func() bool { return p.haveEnded(t, ids...) })
				p.remove(t)
				within(t, "the Pod's cgroup is empty", func() bool { return len(p.contents(t)) == 0 })
			})
		}
	})
}

// haveEnded says whether containerd has seen the ends of these containers. Before, 1.6
// fails to stop them: its calls meet a shim that has ended with the last of them.
func (p *criPod) haveEnded(t *testing.T, ids ...string) bool {
	return !slices.ContainsFunc(ids, func(id string) bool {
		r, err := p.k.ContainerStatus(t.Context(), &cri.ContainerStatusRequest{ContainerId: id})
		return err != nil || r.Status.State != cri.ContainerState_CONTAINER_EXITED
	})
}

// contents are the cgroups below the Pod's, in every hierarchy.
func (p *criPod) contents(t *testing.T) (dirs []string) {
	t.Helper()
	pattern := filepath.Join(usage.Root, p.cgroup, "*")
	if !usage.Unified() {
		pattern = filepath.Join(usage.Root, "*", p.cgroup, "*")
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if fi, err := os.Stat(path); err == nil && fi.IsDir() {
			dirs = append(dirs, path)
		}
	}
	return dirs
}

// What is left is found when containerd stops.
func TestPodThatCannotStartSaysWhyAndLeavesNothing(t *testing.T) {
	onKubelet(t, podVersions, func(t *testing.T, k *kubelet) {
		cgroup := "/" + k.h.Namespace + "/pod"
		podCgroup(t, cgroup)
		for _, pid := range []cri.NamespaceMode{cri.NamespaceMode_CONTAINER, cri.NamespaceMode_POD} {
			_, err := k.RunPodSandbox(t.Context(), &cri.RunPodSandboxRequest{RuntimeHandler: k.handler, Config: &cri.PodSandboxConfig{
				Metadata: &cri.PodSandboxMetadata{Name: "pod", Uid: k.h.Namespace, Namespace: "default"},
				Linux: &cri.LinuxPodSandboxConfig{
					CgroupParent:    cgroup,
					Sysctls:         map[string]string{"kernel.panic": "1"},
					SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Pid: pid}},
				},
			}})
			if err == nil || !strings.Contains(err.Error(), `linux.sysctl: "kernel.panic" is not namespaced`) {
				t.Errorf("error %v", err)
			}
		}
		within(t, "the shims have ended", func() bool { return len(k.h.shims(t)) == 0 })
	})
}

func TestPodSharesItsProcesses(t *testing.T) {
	onKubelet(t, podVersions, func(t *testing.T, k *kubelet) {
		p := k.runPod(t, func(c *cri.PodSandboxConfig) {
			c.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
		})
		guest, sidecar := p.guest(t), p.sidecar(t)
		sandbox := p.sandboxPid(t)
		shares(t, []string{"net", "ipc", "uts", "pid"}, sandbox, p.pid(t, guest), p.pid(t, sidecar))
		for name, id := range map[string]string{"guest": guest, "sidecar": sidecar} {
			if got := p.exec(t, id, command(name, "cat", "/proc/1/comm")...); got != "pause\n" {
				t.Errorf("%s: the first process of the Pod is %q", name, got)
			}
		}
		// The pause process reaps what is left to it.
		p.exec(t, sidecar, "/bin/busybox", "sh", "-c", "/bin/busybox true & exit 0")
		within(t, "the orphan is reaped", func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", sandbox))
			return err == nil && len(b) == 0
		})
		if err := syscall.Kill(sandbox, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		within(t, "the Pod ends with its first process", func() bool { return p.state(t) == cri.PodSandboxState_SANDBOX_NOTREADY })
		within(t, "so do its containers", func() bool { return p.haveEnded(t, guest, sidecar) })
	})
}

func TestPodInTheHostsNamespaces(t *testing.T) {
	onKubelet(t, podVersions, func(t *testing.T, k *kubelet) {
		const node = cri.NamespaceMode_NODE
		p := k.runPod(t, func(c *cri.PodSandboxConfig) {
			c.Hostname = "" // as kubelet leaves it
			c.Linux.SecurityContext.NamespaceOptions = &cri.NamespaceOption{Network: node, Pid: node, Ipc: node}
		})
		guest, sidecar := p.guest(t), p.sidecar(t)
		shares(t, []string{"net", "ipc", "uts", "pid"}, os.Getpid(), p.pid(t, guest), p.pid(t, sidecar))
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		resolver, err := os.ReadFile("/etc/resolv.conf")
		if err != nil {
			t.Fatal(err)
		}
		for cmd, want := range map[string]string{
			"hostname": host + "\n", "cat /etc/hostname": host + "\n", "cat /etc/resolv.conf": string(resolver),
		} {
			if got := p.exec(t, guest, strings.Fields(cmd)...); got != want {
				t.Errorf("%s gives %q, want %q", cmd, got, want)
			}
		}
		// The host's /dev/shm itself.
		file := "/dev/shm/" + k.h.Namespace
		if err := os.WriteFile(file, []byte("host\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file)
		if got := p.exec(t, guest, "cat", file); got != "host\n" {
			t.Errorf("the guest finds %q in the host's /dev/shm", got)
		}
	})
}

func TestPodWithAUserNamespace(t *testing.T) {
	// Before 2.0, CRI knows no user namespaces of Pods that are good for anything.
	onKubelet(t, []string{"2.4", "2.2"}, func(t *testing.T, k *kubelet) {
		const first, size = 200_000, 65536
		ids := []*cri.IDMapping{{HostId: first, ContainerId: 0, Length: size}}
		p := k.runPod(t, func(c *cri.PodSandboxConfig) {
			c.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &cri.UserNamespace{Mode: cri.NamespaceMode_POD, Uids: ids, Gids: ids}
		})
		sandbox := p.sandboxPid(t)
		if k.handler == withPause {
			// Containers need a runc that id-maps the files that CRI gives them,
			// newer than Debian's.
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", sandbox)); err != nil || len(strings.Fields(string(b))) != 3 || strings.Fields(string(b))[1] != fmt.Sprint(first) {
				t.Errorf("the pause process has the mapping %q, %v", b, err)
			}
			return
		}
		guest := p.guest(t)
		pid := p.pid(t, guest)
		shares(t, []string{"net", "ipc", "uts", "user"}, sandbox, pid)
		if namespace(t, pid, "user") == namespace(t, os.Getpid(), "user") {
			t.Error("the guest is in the host's user namespace")
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", pid))
		if got := strings.Fields(string(b)); err != nil || len(got) != 3 || got[1] != fmt.Sprint(first) {
			t.Errorf("its mapping is %q, %v", got, err)
		}
		for _, file := range []string{"hostname", "hosts", "resolv.conf"} {
			if got := p.exec(t, guest, "stat", "-c", "%u %g %a", "/etc/"+file); got != "0 0 644\n" {
				t.Errorf("/etc/%s belongs to %q", file, got)
			}
		}
		if got := p.exec(t, guest, "cat", "/etc/hostname"); got != "web-1\n" {
			t.Errorf("its name is %q", got)
		}
		if got := p.exec(t, guest, "hostname"); got != "web-1\n" {
			t.Errorf("its uts namespace has the name %q", got)
		}
	})
}

// Who watches tasks sees a pause process end as the image's would.
func TestPodEndsWhenItsPauseContainerIsAskedTo(t *testing.T) {
	onKubelet(t, podVersions, func(t *testing.T, k *kubelet) {
		if k.handler == withoutPause {
			return
		}
		for _, sig := range []string{"SIGTERM", "SIGINT", "SIGKILL"} {
			t.Run(sig, func(t *testing.T) {
				p := k.runPod(t, nil)
				next := k.h.taskEventsIn(t, daemon.CRINamespace)
				if r := k.h.Ctr(t.Context(), "--namespace", daemon.CRINamespace, "tasks", "kill", "--signal", sig, p.id); r.Code != 0 {
					t.Fatalf("kill: %+v", r)
				}
				e := next()
				for e.topic != "/tasks/exit" {
					e = next()
				}
				if want := map[string]uint32{"SIGKILL": 137}[sig]; e.id != p.id || e.code != want {
					t.Errorf("event %+v, want the exit of %s with %d", e, p.id, want)
				}
				within(t, "the Pod is not ready", func() bool { return p.state(t) == cri.PodSandboxState_SANDBOX_NOTREADY })
				p.remove(t)
			})
		}
	})
}
