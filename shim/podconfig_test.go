package shim

import (
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// criPod is a configuration with every field that the shim reads, and others.
func criPod() *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: "web", Uid: "1", Namespace: "default", Attempt: 3},
		Hostname:     "web-1",
		LogDirectory: "/var/log/pods/web",
		DnsConfig:    &cri.DNSConfig{Servers: []string{"10.96.0.10", "10.96.0.11"}, Searches: []string{"svc", "cluster.local"}, Options: []string{"ndots:5"}},
		PortMappings: []*cri.PortMapping{{ContainerPort: 80, HostPort: 8080}},
		Labels:       map[string]string{"app": "web"},
		Annotations:  map[string]string{"a": "b"},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: "/kubepods/pod1",
			Sysctls:      map[string]string{"kernel.shm_rmid_forced": "1", "net.core.somaxconn": "1024"},
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{
					Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER, Ipc: cri.NamespaceMode_NODE, TargetId: "x",
					UsernsOptions: &cri.UserNamespace{
						Mode: cri.NamespaceMode_POD,
						Uids: []*cri.IDMapping{{HostId: 100000, ContainerId: 0, Length: 65536}},
						Gids: []*cri.IDMapping{{HostId: 200000, ContainerId: 1, Length: 2}, {HostId: 7}},
					},
				},
				RunAsUser:          &cri.Int64Value{Value: -1},
				SupplementalGroups: []int64{1, 2},
				Privileged:         true,
			},
			Resources: &cri.LinuxContainerResources{CpuShares: 512},
		},
		Windows: &cri.WindowsPodSandboxConfig{},
	}
}

func podAny(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: "types/" + podConfigType, Value: b}
}

func TestPodConfigIsWhatCRIWrites(t *testing.T) {
	if got := string((&cri.PodSandboxConfig{}).ProtoReflect().Descriptor().FullName()); got != podConfigType {
		t.Errorf("the message's name is %s", got)
	}
	got, err := parsePodConfig(podAny(t, criPod()))
	if err != nil {
		t.Fatal(err)
	}
	want := &podConfig{
		hostname:      "web-1",
		dns:           &podDNS{servers: []string{"10.96.0.10", "10.96.0.11"}, searches: []string{"svc", "cluster.local"}, options: []string{"ndots:5"}},
		cgroupParent:  "/kubepods/pod1",
		sysctls:       map[string]string{"kernel.shm_rmid_forced": "1", "net.core.somaxconn": "1024"},
		network:       namespaceNode,
		pid:           namespaceMode(cri.NamespaceMode_CONTAINER),
		ipc:           namespaceNode,
		userNamespace: true,
		uids:          []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}},
		gids:          []specs.LinuxIDMapping{{HostID: 200000, ContainerID: 1, Size: 2}, {HostID: 7}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	node := criPod()
	node.Linux.SecurityContext.NamespaceOptions.UsernsOptions.Mode = cri.NamespaceMode_NODE
	node.DnsConfig = nil
	if got, err := parsePodConfig(podAny(t, node)); err != nil || got.userNamespace || got.dns != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := parsePodConfig(nil); err != nil || !reflect.DeepEqual(got, &podConfig{}) {
		t.Errorf("without options: %+v, %v", got, err)
	}
}

func TestPodConfigOfAnotherTypeIsRefused(t *testing.T) {
	badMode := criPod()
	badMode.Linux.SecurityContext.NamespaceOptions.UsernsOptions.Mode = cri.NamespaceMode_CONTAINER
	for name, c := range map[string]struct {
		any  *anypb.Any
		want string
	}{
		"another message": {&anypb.Any{TypeUrl: "types/runtime.v1.ContainerConfig"}, "do not describe a Pod"},
		"no message":      {&anypb.Any{TypeUrl: podConfigType, Value: []byte{0xff}}, "is no runtime.v1.PodSandboxConfig"},
		"a wrong type":    {&anypb.Any{TypeUrl: podConfigType, Value: []byte{2 << 3, 1}}, "wrong type"},
		"a wrong mode":    {podAny(t, badMode), "neither POD nor NODE"},
	} {
		if _, err := parsePodConfig(c.any); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzPodConfig(f *testing.F) {
	f.Add(podAny(f, criPod()).Value)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parsePodConfig(&anypb.Any{TypeUrl: podConfigType, Value: b})
		if err != nil {
			return
		}
		// What the library takes for a message means the same to it.
		var want cri.PodSandboxConfig
		if proto.Unmarshal(b, &want) != nil {
			return
		}
		if got.hostname != want.GetHostname() || got.cgroupParent != want.GetLinux().GetCgroupParent() ||
			!reflect.DeepEqual(got.sysctls, want.GetLinux().GetSysctls()) ||
			got.network != namespaceMode(uint32(want.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork())) {
			t.Errorf("got %+v, the library reads %v", got, &want)
		}
	})
}
