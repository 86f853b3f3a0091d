package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
	"github.com/wasmshim/containerd-shim-wasm/test/usage"
)

const pauseImage = "localhost/pause:1"

// kubelet is a client of a daemon's CRI service.
type kubelet struct {
	cri.RuntimeServiceClient
	images cri.ImageServiceClient
	h      *host
	// handler is the runtime of its Pods.
	handler string
}

// The handlers of Wasm Pods: with a pause container, with the sandbox API, and as an
// installer leaves it.
const (
	withPause    = "wasm"
	withoutPause = "wasm-sandbox"
	byPath       = "wasm-by-path"
)

// onKubelet runs the test against the CRI service of those of the versions that
// are tested, with each handler that they have, as onEachDaemon.
func onKubelet(t *testing.T, versions []string, test func(t *testing.T, k *kubelet)) {
	t.Helper()
	forHandlers(t, versions, func(t *testing.T, version, handler string) {
		onDaemonOfKubelet(t, borrow(t, kind{version, handler}), test)
	})
}

// onOwnKubelet is onKubelet for tests that stop their daemon or change what it has.
func onOwnKubelet(t *testing.T, versions []string, test func(t *testing.T, k *kubelet)) {
	t.Helper()
	forHandlers(t, versions, func(t *testing.T, version, handler string) {
		onDaemonOfKubelet(t, own(t, kind{version, handler}), test)
	})
}

// onPlainKubelet is onKubelet with a pause container only, for what has nothing to
// do with Pods.
func onPlainKubelet(t *testing.T, versions []string, test func(t *testing.T, k *kubelet)) {
	t.Helper()
	forVersions(t, testedOf(versions), func(t *testing.T, version string) {
		onDaemonOfKubelet(t, borrow(t, kind{version, withPause}), test)
	})
}

// onOwnPlainKubelet is onPlainKubelet on a daemon of the test's own.
func onOwnPlainKubelet(t *testing.T, versions []string, test func(t *testing.T, k *kubelet)) {
	t.Helper()
	forVersions(t, testedOf(versions), func(t *testing.T, version string) {
		onDaemonOfKubelet(t, own(t, kind{version, withPause}), test)
	})
}

func forHandlers(t *testing.T, versions []string, test func(t *testing.T, version, handler string)) {
	t.Helper()
	forVersions(t, testedOf(versions), func(t *testing.T, version string) {
		handlers := []string{withPause}
		if version == "2.4" {
			handlers = append(handlers, withoutPause)
		}
		for _, handler := range handlers {
			t.Run(handler, func(t *testing.T) {
				t.Parallel()
				test(t, version, handler)
			})
		}
	})
}

// testedOf leaves out the versions that this run does not test.
func testedOf(versions []string) []string {
	return slices.DeleteFunc(slices.Clone(theSuite.versions), func(v string) bool { return !slices.Contains(versions, v) })
}

func onDaemonOfKubelet(t *testing.T, h *host, test func(t *testing.T, k *kubelet)) {
	t.Helper()
	k := h.kubelet(t)
	h.check(t, func() { test(t, k) })
}

// kubelet returns a client of the daemon's CRI service, which has an image for
// Pods of its handler. Who needs no pause container finds no pause image.
func (h *host) kubelet(t *testing.T) *kubelet {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+h.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	k := &kubelet{cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn), h, h.kind.handler}
	if k.handler != withoutPause {
		// Its program must not be needed: it ends at once, if anything starts it.
		k.has(t, pauseImage, func() scratchimage.Image {
			pause := nativeImage(t, pauseImage)
			pause.Entrypoint = []string{"/bin/busybox", "false"}
			return pause
		})
	}
	k.has(t, "localhost/probe-c:1", func() scratchimage.Image {
		return scratchimage.Image{
			Ref:        "localhost/probe-c:1",
			Files:      map[string][]byte{"/probe-c.wasm": guestBinary(t, "probe-c"), "/tmp/": nil, "/etc/": nil},
			Entrypoint: []string{"/probe-c.wasm"},
		}
	})
	return k
}

// has imports an image for Pods unless the daemon has it.
func (k *kubelet) has(t *testing.T, ref string, make func() scratchimage.Image) {
	t.Helper()
	if k.h.imported[ref] {
		return
	}
	file := filepath.Join(k.h.Dir, "work", "image.tar")
	if err := make().Write(file); err != nil {
		t.Fatal(err)
	}
	if r := k.h.Ctr(t.Context(), "--namespace", daemon.CRINamespace, "images", "import", file); r.Code != 0 {
		t.Fatalf("import %s: %+v", ref, r)
	}
	within(t, "CRI knows "+ref, func() bool {
		r, err := k.images.ImageStatus(t.Context(), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: ref}})
		return err == nil && r.Image != nil
	})
	k.h.imported[ref] = true
}

// podCgroup makes the cgroup of a Pod, as kubelet does, and removes it.
func podCgroup(t *testing.T, path string) {
	t.Helper()
	roots := []string{usage.Root}
	if !usage.Unified() {
		var err error
		if roots, err = filepath.Glob(usage.Root + "/*"); err != nil {
			t.Fatal(err)
		}
	}
	for _, root := range roots {
		for _, dir := range []string{filepath.Dir(path), path} {
			if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.Remove(filepath.Join(root, dir)); err != nil {
					t.Error(err)
				}
			})
			initCpuset(t, root, filepath.Join(root, dir))
		}
	}
	if usage.Unified() {
		for _, dir := range []string{"/", filepath.Dir(path), path} {
			if err := os.WriteFile(filepath.Join(usage.Root, dir, "cgroup.subtree_control"), []byte("+cpu +memory +pids +io +cpuset"), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// initCpuset lets a cgroup of a v1 cpuset have processes.
func initCpuset(t *testing.T, root, dir string) {
	t.Helper()
	if usage.Unified() || filepath.Base(root) != "cpuset" {
		return
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), b, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestKubeletSeesWhatTheKernelCounts(t *testing.T) {
	onKubelet(t, []string{"2.4", "1.7"}, func(t *testing.T, k *kubelet) {
		const used, limit = 32 << 20, 128 << 20
		ctx := t.Context()
		parent := "/" + k.h.Namespace + "/pod"
		podCgroup(t, parent)
		sandbox := &cri.PodSandboxConfig{
			Metadata: &cri.PodSandboxMetadata{Name: "pod", Uid: k.h.Namespace, Namespace: "default"},
			Linux: &cri.LinuxPodSandboxConfig{
				CgroupParent: parent,
				SecurityContext: &cri.LinuxSandboxSecurityContext{
					NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
				},
			},
			LogDirectory: t.TempDir(),
		}
		pod, err := k.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox, RuntimeHandler: k.handler})
		if err != nil {
			t.Fatal(err)
		}
		socket := k.h.Socket(daemon.CRINamespace, pod.PodSandboxId)
		if _, err := os.Stat(socket); err != nil {
			t.Errorf("the Pod's shim: %v", err)
		}
		t.Cleanup(func() {
			ctx := context.Background()
			_, stopErr := k.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod.PodSandboxId})
			_, removeErr := k.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod.PodSandboxId})
			if stopErr != nil || removeErr != nil {
				t.Errorf("stop: %v, remove: %v", stopErr, removeErr)
			}
			within(t, "the Pod's shim ends", func() bool { _, err := os.Stat(socket); return err != nil })
		})
		c, err := k.CreateContainer(ctx, &cri.CreateContainerRequest{
			PodSandboxId: pod.PodSandboxId, SandboxConfig: sandbox,
			Config: &cri.ContainerConfig{
				Metadata: &cri.ContainerMetadata{Name: "guest"},
				Image:    &cri.ImageSpec{Image: "localhost/probe-c:1"},
				Args:     []string{"work", fmt.Sprint(used >> 20)},
				LogPath:  "guest.log",
				Linux: &cri.LinuxContainerConfig{Resources: &cri.LinuxContainerResources{
					CpuPeriod: 100_000, CpuQuota: 50_000, CpuShares: 512, MemoryLimitInBytes: limit,
				}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
			t.Fatal(err)
		}
		within(t, "the guest has its memory", func() bool {
			b, _ := os.ReadFile(filepath.Join(sandbox.LogDirectory, "guest.log"))
			return strings.Contains(string(b), "allocated")
		})
		if r := k.h.Ctr(ctx, "--namespace", daemon.CRINamespace, "tasks", "pause", c.ContainerId); r.Code != 0 {
			t.Fatalf("pause: %+v", r)
		}
		files := usage.Files{T: t, Path: parent + "/" + c.ContainerId}
		var s *cri.ContainerStats
		kernel := settled(t, files, func() {
			r, err := k.ContainerStats(ctx, &cri.ContainerStatsRequest{ContainerId: c.ContainerId})
			if err != nil {
				t.Fatal(err)
			}
			s = r.Stats
		})
		assertSame(t, "container", s.Cpu, s.Memory, kernel)
		if kernel.Anonymous < used || kernel.MemoryLimit != limit || kernel.CPU == 0 {
			t.Errorf("the kernel's numbers of a guest that uses %d bytes: %+v", used, kernel)
		}
		list, err := k.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
		if err != nil || len(list.Stats) != 1 || list.Stats[0].GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 {
			t.Errorf("list of statistics: %v, %v", list, err)
		}

		var p *cri.PodSandboxStats
		podKernel := settled(t, usage.Files{T: t, Path: parent}, func() {
			r, err := k.PodSandboxStats(ctx, &cri.PodSandboxStatsRequest{PodSandboxId: pod.PodSandboxId})
			if err != nil {
				t.Fatal(err)
			}
			p = r.Stats
		})
		assertSame(t, "Pod", p.Linux.Cpu, p.Linux.Memory, podKernel)
		if podKernel.CPU < kernel.CPU || podKernel.Anonymous < kernel.Anonymous {
			t.Errorf("the Pod has %+v, its container alone %+v", podKernel, kernel)
		}
		// Whichever way this version counts.
		if n := p.Linux.Process.GetProcessCount().GetValue(); n == 0 {
			t.Errorf("%d processes in the Pod", n)
		}
	})
}

// settled returns what the kernel's files said both before and after ask.
func settled(t *testing.T, f usage.Files, ask func()) usage.Usage {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		before := f.Usage()
		ask()
		after := f.Usage()
		if before == after {
			return after
		}
		if time.Now().After(deadline) {
			t.Fatalf("a paused container changes: %+v, then %+v", before, after)
		}
	}
}

func assertSame(t *testing.T, what string, cpu *cri.CpuUsage, memory *cri.MemoryUsage, kernel usage.Usage) {
	t.Helper()
	if got := cpu.GetUsageCoreNanoSeconds().GetValue(); got != kernel.CPU || got == 0 {
		t.Errorf("%s: CRI says %d ns of processor time, the kernel %d", what, got, kernel.CPU)
	}
	for name, n := range map[string][2]uint64{
		"working set": {memory.GetWorkingSetBytes().GetValue(), kernel.WorkingSet()},
		"usage":       {memory.GetUsageBytes().GetValue(), kernel.Memory},
		"RSS":         {memory.GetRssBytes().GetValue(), kernel.Anonymous},
	} {
		if n[0] != n[1] || n[0] == 0 {
			t.Errorf("%s: CRI says %s is %d bytes, the kernel %d", what, name, n[0], n[1])
		}
	}
}
