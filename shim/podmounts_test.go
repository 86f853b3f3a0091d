package shim

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func destinations(spec *specs.Spec) (all []string) {
	for _, m := range spec.Mounts {
		all = append(all, m.Destination+"="+m.Source)
	}
	return all
}

func TestContainersGetThePodsFiles(t *testing.T) {
	p := &pod{bundle: "/b", config: &podConfig{}}
	host := &pod{bundle: "/b", config: &podConfig{ipc: namespaceNode}}
	mount := func(destination, kind, source string) specs.Mount {
		return specs.Mount{Destination: destination, Type: kind, Source: source}
	}
	for name, c := range map[string]struct {
		pod    *pod
		mounts []specs.Mount
		want   []string
	}{
		"all": {p, []specs.Mount{mount("/dev", "tmpfs", "tmpfs"), mount("/dev/shm", "tmpfs", "shm"), mount("/data", "bind", "/x")},
			[]string{"/dev=tmpfs", "/dev/shm=/b/shm", "/data=/x", "/etc/hostname=/b/hostname", "/etc/hosts=/b/hosts", "/etc/resolv.conf=/b/resolv.conf"}},
		"kubelet's own": {p, []specs.Mount{mount("/etc/hosts", "bind", "/k"), mount("/dev/shm/", "bind", "/mem")},
			[]string{"/etc/hosts=/k", "/dev/shm/=/mem", "/etc/hostname=/b/hostname", "/etc/resolv.conf=/b/resolv.conf"}},
		"above what lies below": {p, []specs.Mount{mount("/etc", "bind", "/k"), mount("/dev/shm/sub", "bind", "/s")},
			[]string{"/etc=/k", "/dev/shm=/b/shm", "/dev/shm/sub=/s", "/etc/hostname=/b/hostname", "/etc/hosts=/b/hosts", "/etc/resolv.conf=/b/resolv.conf"}},
		"the host's ipc": {host, []specs.Mount{mount("/dev/shm", "bind", "/dev/shm")},
			[]string{"/dev/shm=/dev/shm", "/etc/hostname=/b/hostname", "/etc/hosts=/b/hosts", "/etc/resolv.conf=/b/resolv.conf"}},
	} {
		spec := &specs.Spec{Root: &specs.Root{Readonly: true}, Mounts: c.mounts}
		if err := c.pod.furnish(spec); err != nil {
			t.Fatal(err)
		}
		if got := destinations(spec); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, c.want)
		}
		for _, m := range spec.Mounts {
			if strings.HasPrefix(m.Destination, "/etc/") && m.Source != "/k" && m.Options[len(m.Options)-1] != "ro" {
				t.Errorf("%s: %s is %q in a read-only root", name, m.Destination, m.Options)
			}
		}
	}
}

// Fields of a newer specification go on to runc.
func TestRewrittenMountsLeaveTheRestOfTheSpec(t *testing.T) {
	bundle := t.TempDir()
	file := filepath.Join(bundle, "config.json")
	if err := os.WriteFile(file, []byte(`{"ociVersion":"9.9","future":{"n":12345678901234567890,"s":"<>"},"mounts":[{"destination":"/a"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rewriteMounts(bundle, &specs.Spec{Mounts: []specs.Mount{{Destination: "/b"}}}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ociVersion":"9.9"`, `12345678901234567890`, `"mounts":[{"destination":"/b"}]`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
	if entries, err := os.ReadDir(bundle); err != nil || len(entries) != 1 {
		t.Errorf("the bundle holds %v, %v", entries, err)
	}
}

func TestResolverConfiguration(t *testing.T) {
	for want, d := range map[string]*podDNS{
		"search a b\nnameserver 1.1.1.1\nnameserver ::1\noptions ndots:5 rotate\n": {
			servers: []string{"1.1.1.1", "::1"}, searches: []string{"a", "b"}, options: []string{"ndots:5", "rotate"}},
		"": {},
	} {
		if got := string(d.resolvConf()); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestPodLabelHasNoCategories(t *testing.T) {
	for label, want := range map[string]string{
		"system_u:object_r:container_file_t:s0:c1,c2": "system_u:object_r:container_file_t:s0",
		"system_u:object_r:container_file_t:s0":       "system_u:object_r:container_file_t:s0",
		"odd":                                         "odd",
	} {
		if got := sharedLabel(label); got != want {
			t.Errorf("%s: got %s, want %s", label, got, want)
		}
	}
}

func TestHolderLiesWhereCRIPutsPauseContainers(t *testing.T) {
	for parent, want := range map[string]string{
		"":                                    "",
		"/kubepods/pod":                       "/kubepods/pod/id",
		"/kubepods.slice/kubepods-pod1.slice": "kubepods-pod1.slice:cri-containerd:id",
	} {
		if got := (&podConfig{cgroupParent: parent}).holderCgroup("id"); got != want {
			t.Errorf("%q: got %q, want %q", parent, got, want)
		}
	}
}

func TestPodSysctlsAreCRIsDefaultsUnlessSomebodySaysOtherwise(t *testing.T) {
	const ports, icmp = "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"
	both := podDefaults{true, true}
	for name, c := range map[string]struct {
		config   podConfig
		defaults podDefaults
		want     map[string]string
	}{
		"defaults":         {podConfig{}, both, map[string]string{ports: "0", icmp: "0 2147483647"}},
		"neither":          {podConfig{}, podDefaults{}, map[string]string{}},
		"the Pod's":        {podConfig{sysctls: map[string]string{ports: "80"}}, both, map[string]string{ports: "80", icmp: "0 2147483647"}},
		"the host's":       {podConfig{network: namespaceNode}, both, map[string]string{}},
		"a user namespace": {podConfig{userNamespace: true}, both, map[string]string{ports: "0"}},
	} {
		if got := c.config.allSysctls(c.defaults); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	for _, d := range []podDefaults{{}, {ports: true}, {icmp: true}, both} {
		name, value, _ := strings.Cut(d.environment()[0], "=")
		t.Setenv(name, value)
		if got := podDefaultsFromEnv(); got != d {
			t.Errorf("the server reads %+v, the options say %+v", got, d)
		}
	}
}
