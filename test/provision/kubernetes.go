package provision

import (
	"context"
	"fmt"
	"strings"
)

// kubernetesModule pins everything of a cluster but its containerd.
const kubernetesModule = "test/daemons/kubernetes"

// Kubernetes returns the directory with Kubernetes' commands, etcd, CoreDNS,
// metrics-server and the CNI plugins. It is the longest of all builds: 530 seconds
// of processor time.
func (s *Store) Kubernetes(ctx context.Context) (string, error) {
	version, err := s.kubernetesVersion(ctx)
	if err != nil {
		return "", err
	}
	// As Kubernetes' own build stamps them; kubectl and kubelet compare versions.
	flags := []string{"-s", "-w"}
	minor := strings.Split(version, ".")[1]
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, x := range []string{"gitVersion=" + version, "gitMajor=1", "gitMinor=" + minor, "gitTreeState=clean",
			"gitCommit=" + strings.Repeat("0", 40), "buildDate=1970-01-01T00:00:00Z"} {
			flags = append(flags, "-X", pkg+"."+x)
		}
	}
	return s.goTools(ctx, "kubernetes", version, kubernetesModule, goBuild{env: []string{"CGO_ENABLED=0"}, flags: []string{"-trimpath",
		"-tags", "selinux,notest,grpcnotrace", // as Kubernetes' own build
		"-ldflags", strings.Join(flags, " ")}})
}

func (s *Store) kubernetesVersion(ctx context.Context) (string, error) {
	list := s.inModule(kubernetesModule, "go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	out, err := list.run(ctx)
	if version := strings.TrimSpace(out); err != nil || strings.Count(version, ".") == 2 {
		return version, err
	}
	return "", fmt.Errorf("%s has no version of Kubernetes: %q", kubernetesModule, out)
}

// NetworkFilter makes sure that the commands are there with which kube-proxy and
// the CNI plugins make Services and ports.
func (s *Store) NetworkFilter(ctx context.Context) error {
	return s.install(ctx, "iproute2", "nftables", "conntrack")
}
