package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/wasmshim/containerd-shim-wasm/deploy/node"
	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// The installer's handler runs Pods, an upgrade leaves those that run what they began
// with, and nothing is removed under them.
func TestInstalledHandlerRunsPods(t *testing.T) {
	var oneAtATime sync.Mutex // an installer refuses to run beside another on its node
	onOwnPlainKubelet(t, []string{"2.4", "1.7"}, func(t *testing.T, k *kubelet) {
		oneAtATime.Lock()
		defer oneAtATime.Unlock()
		ctx := t.Context()
		p, err := theSuite.programs(ctx, k.h.Version)
		if err != nil {
			t.Fatal(err)
		}
		programs := t.TempDir()
		if err := os.CopyFS(programs, os.DirFS(theSuite.bin)); err != nil {
			t.Fatal(err)
		}
		c := node.Config{
			Programs: programs, Prefix: filepath.Join(k.h.Dir, "shim"), State: filepath.Join(k.h.Dir, "node"),
			Handler: "installed", ConfigFile: filepath.Join(k.h.Dir, "config.toml"), Socket: k.h.Address(),
			Containerd: filepath.Join(p.Containerd, "containerd"),
			Restart:    func(ctx context.Context) error { return k.h.Restart(ctx, syscall.SIGTERM) },
		}
		t.Cleanup(func() { _ = os.Remove("/run/wasm-node-installer.lock") })
		if r, err := node.Install(ctx, c); err != nil || !r.Restarted {
			t.Fatalf("install: %+v, %v", r, err)
		}

		parent := "/" + k.h.Namespace + "/pod"
		podCgroup(t, parent)
		sandbox := &cri.PodSandboxConfig{
			Metadata: &cri.PodSandboxMetadata{Name: "app", Uid: k.h.Namespace, Namespace: "shop"},
			Linux: &cri.LinuxPodSandboxConfig{
				CgroupParent: parent,
				SecurityContext: &cri.LinuxSandboxSecurityContext{
					NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
				},
			},
			LogDirectory: filepath.Join(k.h.Dir, "work"),
		}
		pod, err := k.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox, RuntimeHandler: c.Handler})
		if err != nil {
			t.Fatal(err)
		}
		remove := func() {
			ctx := context.Background()
			_, _ = k.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod.PodSandboxId})
			_, _ = k.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod.PodSandboxId})
			socket := k.h.Socket(daemon.CRINamespace, pod.PodSandboxId)
			within(t, "the Pod's shim ends", func() bool { _, err := os.Stat(socket); return err != nil })
		}
		t.Cleanup(remove)
		runGuest(t, k, pod.PodSandboxId, sandbox, "first")

		if _, err := node.Uninstall(ctx, c, false); err == nil || !strings.Contains(err.Error(), "shop/app") {
			t.Errorf("uninstalling under a Pod: %v", err)
		}
		// The runner of the next version is none, so that only the old one can run.
		if err := os.WriteFile(filepath.Join(programs, "wasm-runner"), []byte("of another version"), 0o755); err != nil {
			t.Fatal(err)
		}
		if r, err := node.Install(ctx, c); err != nil || !r.Changed || r.Restarted {
			t.Fatalf("upgrade: %+v, %v", r, err)
		}
		runGuest(t, k, pod.PodSandboxId, sandbox, "second")

		remove()
		if r, err := node.Uninstall(ctx, c, false); err != nil || !r.Changed {
			t.Errorf("uninstall: %+v, %v", r, err)
		}
		for _, dir := range []string{c.Prefix, c.State} {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s is left", dir)
			}
		}
		if _, err := k.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox, RuntimeHandler: c.Handler}); err == nil {
			t.Error("the handler still runs Pods")
		}
	})
}

// runGuest runs a container of the Pod to its end, which has to be a good one.
func runGuest(t *testing.T, k *kubelet, pod string, sandbox *cri.PodSandboxConfig, name string) {
	t.Helper()
	c, err := k.CreateContainer(t.Context(), &cri.CreateContainerRequest{
		PodSandboxId: pod, SandboxConfig: sandbox,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: name},
			Image:    &cri.ImageSpec{Image: "localhost/probe-c:1"},
			Args:     []string{"exit", "0"},
			LogPath:  name + ".log",
			Linux:    &cri.LinuxContainerConfig{},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.StartContainer(t.Context(), &cri.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
		t.Fatal(err)
	}
	var s *cri.ContainerStatus
	within(t, fmt.Sprintf("container %s ends", name), func() bool {
		r, err := k.ContainerStatus(t.Context(), &cri.ContainerStatusRequest{ContainerId: c.ContainerId})
		if err == nil {
			s = r.Status
		}
		return err == nil && s.State == cri.ContainerState_CONTAINER_EXITED
	})
	if s.ExitCode != 0 {
		t.Errorf("container %s: exit code %d, %s", name, s.ExitCode, s.Message)
	}
}
