package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/wasmshim/containerd-shim-wasm/test/registry"
	"github.com/wasmshim/containerd-shim-wasm/test/shapes"
)

// startRegistry runs a registry until the test ends.
func startRegistry(t *testing.T) *registry.Registry {
	t.Helper()
	program, err := theSuite.store.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Start(t.Context(), program, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// guests are those of the suite, for images.
func guests(t *testing.T) shapes.Guests {
	return func(name string) []byte { return guestBinary(t, name) }
}

func pushShape(t *testing.T, s shapes.Shape, r *registry.Registry) string {
	t.Helper()
	ref, err := s.Push(t.Context(), r, guests(t))
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// expectOutcome compares how a shape ended, at which step and with which message,
// or with which output.
func expectOutcome(t *testing.T, s shapes.Shape, want, at, message, stdout string) {
	t.Helper()
	if err := s.Outcome(want, at, message, stdout); err != nil {
		t.Error(err)
	}
}

func TestEveryShapeWithCtr(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		r := startRegistry(t)
		hosts := t.TempDir()
		if err := r.WriteHosts(hosts); err != nil {
			t.Fatal(err)
		}
		for _, s := range shapes.All {
			ref := pushShape(t, s, r)
			want := s.Ctr[slices.Index(shapes.Versions, h.Version)]
			pull := h.Ctr(t.Context(), "images", "pull", "--user", registry.User+":"+registry.Password, "--hosts-dir", hosts, ref)
			if pull.Code != 0 {
				expectOutcome(t, s, want, "pull", lastLine(pull.Stderr), "")
			} else {
				args := append([]string{"run", "--rm", "--runtime", wasm, ref, h.NewID(s.Name)}, s.Command...)
				run := h.Ctr(t.Context(), args...)
				at := ""
				if run.Code != 0 {
					at = "start"
				}
				expectOutcome(t, s, want, at, lastLine(run.Stderr), run.Stdout)
			}
			if rm := h.Ctr(t.Context(), "images", "rm", "--sync", ref); rm.Code != 0 {
				t.Errorf("%s: remove: %s", s.Name, rm.Stderr)
			}
		}
	})
}

func TestEveryShapeWithKubelet(t *testing.T) {
	onPlainKubelet(t, theSuite.versions, func(t *testing.T, k *kubelet) {
		r := startRegistry(t)
		if err := r.WriteHosts(k.h.Hosts()); err != nil {
			t.Fatal(err)
		}
		p := k.pod(t)
		for _, s := range shapes.All {
			ref := pushShape(t, s, r)
			at, message, stdout := p.runImage(t, ref, s.Command)
			expectOutcome(t, s, s.CRI[slices.Index(shapes.Versions, k.h.Version)], at, message, stdout)
			if _, err := k.images.RemoveImage(t.Context(), &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: ref}}); err != nil {
				t.Errorf("%s: remove: %v", s.Name, err)
			}
		}
	})
}

// lastLine leaves the progress of a pull out.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndex(s, "\n")+1:]
}

// imagePod is a Pod on the host's network that runs images of a registry.
type imagePod struct {
	*kubelet
	id     string
	config *cri.PodSandboxConfig
}

// pod runs a Pod until the test ends.
func (k *kubelet) pod(t *testing.T) *imagePod {
	t.Helper()
	p := &imagePod{kubelet: k, config: &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "pod", Uid: k.h.Namespace, Namespace: "default"},
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
		}},
		LogDirectory: t.TempDir(),
	}}
	r, err := k.RunPodSandbox(t.Context(), &cri.RunPodSandboxRequest{Config: p.config, RuntimeHandler: "wasm"})
	if err != nil {
		t.Fatal(err)
	}
	p.id = r.PodSandboxId
	t.Cleanup(func() {
		ctx := context.Background()
		_, stopErr := k.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.id})
		_, removeErr := k.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id})
		if stopErr != nil || removeErr != nil {
			t.Errorf("stop: %v, remove: %v", stopErr, removeErr)
		}
	})
	return p
}

// pull fetches an image as kubelet does, and returns its id.
func (p *imagePod) pull(t *testing.T, ref string) (id string, _ error) {
	t.Helper()
	r, err := p.images.PullImage(t.Context(), &cri.PullImageRequest{
		Image:         &cri.ImageSpec{Image: ref},
		Auth:          &cri.AuthConfig{Username: registry.User, Password: registry.Password},
		SandboxConfig: p.config,
	})
	return r.GetImageRef(), err
}

// runImage pulls an image and runs a container of it to its end. at is the step at
// which it failed.
func (p *imagePod) runImage(t *testing.T, ref string, command []string) (at, message, stdout string) {
	t.Helper()
	id, err := p.pull(t, ref)
	if err != nil {
		return "pull", err.Error(), ""
	}
	return p.run(t, &cri.ImageSpec{Image: id, UserSpecifiedImage: ref}, command)
}

// run runs a container to its end and removes it. Without a command it is the
// image's.
func (p *imagePod) run(t *testing.T, image *cri.ImageSpec, command []string) (at, message, stdout string) {
	t.Helper()
	ctx := t.Context()
	c, err := p.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: p.id, SandboxConfig: p.config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "guest"},
			Image:    image,
			Command:  command,
			LogPath:  "guest.log",
			Linux:    &cri.LinuxContainerConfig{},
		},
	})
	if err != nil {
		return "create", err.Error(), ""
	}
	log := filepath.Join(p.config.LogDirectory, "guest.log")
	defer func() {
		if _, err := p.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: c.ContainerId}); err != nil {
			t.Error(err)
		}
		_ = os.Remove(log)
	}()
	if _, err := p.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
		return "start", err.Error(), ""
	}
	var status *cri.ContainerStatus
	within(t, "the container ends", func() bool {
		r, err := p.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.ContainerId})
		status = r.GetStatus()
		return err == nil && status.State == cri.ContainerState_CONTAINER_EXITED
	})
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		// Time, stream, F or P, and the text.
		if fields := strings.SplitN(line, " ", 4); len(fields) == 4 {
			stdout += fields[3]
		}
	}
	if status.ExitCode != 0 {
		return "run", stdout, ""
	}
	return "", "", stdout
}
