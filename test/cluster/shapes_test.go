package cluster

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/wasmshim/containerd-shim-wasm/test/registry"
	"github.com/wasmshim/containerd-shim-wasm/test/shapes"
)

// Every shape of docs/images.md is pulled by kubelet, with a secret of the Pod, from a
// registry inside the cluster, and ends as the table says.
func TestEveryShapeOfImageIsPulledAndRuns(t *testing.T) {
	s := newSpace(t)
	r, err := registry.Start(t.Context(), s.programs.Registry, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.WriteHosts("/etc/containerd/certs.d"); err != nil {
		t.Fatal(err)
	}
	login := base64.StdEncoding.EncodeToString([]byte(registry.User + ":" + registry.Password))
	s.create(fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: registry}
type: kubernetes.io/dockerconfigjson
stringData: {.dockerconfigjson: '{"auths": {%q: {"auth": %q}}}'}
`, r.Host, login))
	guests := func(name string) []byte {
		b, err := os.ReadFile(s.programs.Guests[name])
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	version := slices.Index(shapes.Versions, "2.4")
	for round, group := range distinctConfigs(shapes.All, guests) {
		refs := map[string]string{}
		var containers strings.Builder
		for _, shape := range group {
			ref, err := shape.Push(t.Context(), r, guests)
			if err != nil {
				t.Fatal(err)
			}
			refs[shape.Name] = ref
			fmt.Fprintf(&containers, "  - {name: %s, image: %q, command: [%s]}\n", shape.Name, ref, strings.Join(shape.Command, ", "))
		}
		pod := fmt.Sprintf("round-%d", round)
		s.create(`
apiVersion: v1
kind: Pod
metadata: {name: ` + pod + `}
spec:
  runtimeClassName: wasm
  restartPolicy: Never
  imagePullSecrets: [{name: registry}]
  containers:
` + containers.String())
		p := s.pod(pod, "at the end of each container", func(p *corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) == len(group) &&
				!slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { _, _, ended := outcome(c.State); return !ended })
		})
		for _, c := range p.Status.ContainerStatuses {
			shape := group[slices.IndexFunc(group, func(shape shapes.Shape) bool { return shape.Name == c.Name })]
			at, message, _ := outcome(c.State)
			stdout := ""
			if at == "" {
				stdout = s.log(pod, c.Name)
			}
			if err := shape.Outcome(shape.CRI[version], at, message, stdout); err != nil {
				t.Error(err)
			}
		}
		// An image with the config of another is that one for CRI while it is there.
		s.deleted(p)
		for _, ref := range refs {
			if err := s.ctr(t.Context(), "images", "rm", "--sync", ref); err != nil && !strings.Contains(err.Error(), "not found") {
				t.Error(err)
			}
		}
	}
}

// outcome is the step at which a container failed, "" if at none, once it is known.
func outcome(s corev1.ContainerState) (at, message string, known bool) {
	if e := s.Terminated; e != nil {
		switch {
		case e.Reason == "StartError":
			return "start", e.Message, true
		case e.ExitCode != 0:
			return "run", e.Message, true
		}
		return "", "", true
	}
	if s.Waiting == nil {
		return "", "", false
	}
	at, known = map[string]string{
		"ErrImagePull": "pull", "ImagePullBackOff": "pull", "CreateContainerError": "create", "RunContainerError": "start",
	}[s.Waiting.Reason]
	return at, s.Waiting.Message, known
}

// distinctConfigs puts shapes into groups in which no two have the same config.
func distinctConfigs(all []shapes.Shape, g shapes.Guests) (groups [][]shapes.Shape) {
	var taken []map[[sha256.Size]byte]bool
	for _, s := range all {
		var digests [][sha256.Size]byte
		for _, m := range s.Manifests(g) {
			digests = append(digests, sha256.Sum256(m.Config.Content))
		}
		i := slices.IndexFunc(taken, func(t map[[sha256.Size]byte]bool) bool {
			return !slices.ContainsFunc(digests, func(d [sha256.Size]byte) bool { return t[d] })
		})
		if i < 0 {
			i = len(groups)
			groups, taken = append(groups, nil), append(taken, map[[sha256.Size]byte]bool{})
		}
		groups[i] = append(groups[i], s)
		for _, d := range digests {
			taken[i][d] = true
		}
	}
	return groups
}
