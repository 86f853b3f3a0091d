package sandbox

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func TestJoinedNamespaces(t *testing.T) {
	held := hold(t, unix.CLONE_NEWNET|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS|unix.CLONE_NEWPID|unix.CLONE_NEWCGROUP)
	v := mustRun(t, with(func(s *specs.Spec) {
		s.Hostname = "joined"
		s.Linux.Namespaces = []specs.LinuxNamespace{
			{Type: specs.MountNamespace},
			{Type: specs.PIDNamespace, Path: held("pid")},
			{Type: specs.IPCNamespace, Path: held("ipc")},
			{Type: specs.UTSNamespace, Path: held("uts")},
			{Type: specs.NetworkNamespace, Path: held("net")},
			{Type: specs.CgroupNamespace, Path: held("cgroup")},
		}
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}
	}), wish{List: []string{"/proc"}})
	for _, kind := range []string{"pid", "ipc", "uts", "net", "cgroup"} {
		want, err := os.Readlink(held(kind))
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Namespaces[kind]; got != want {
			t.Errorf("%s is %s, want that of the holder, %s", kind, got, want)
		}
	}
	if v.PID == 1 || v.Host != "joined" {
		t.Errorf("pid %d, hostname %s", v.PID, v.Host)
	}
	if !strings.HasPrefix(v.Tried["list /proc"], "ok 1 ") {
		t.Errorf("the proc file system is not that of the joined pid namespace: %.40s", v.Tried["list /proc"])
	}
	// Whoever starts a process next must not find itself in that namespace.
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		out, err := exec.Command("readlink", "/proc/self/ns/pid").Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(out)); got != own {
			t.Fatalf("a later child is in %s, not in %s", got, own)
		}
	}
}

func TestStartReturnsTheErrorOfStart(t *testing.T) {
	held := hold(t, unix.CLONE_NEWPID)
	for _, path := range []string{"", held("pid")} {
		c := &Config{PidPath: path}
		if err := startIn(c, func() error { return io.ErrNoProgress }); !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("with %q: %v", path, err)
		}
	}
}

func TestNamespacesThatCannotBeJoined(t *testing.T) {
	held := hold(t, unix.CLONE_NEWNET)
	for _, test := range []struct {
		ns    specs.LinuxNamespace
		class control.Class
		text  string
	}{
		{specs.LinuxNamespace{Type: specs.PIDNamespace, Path: "/proc/0/ns/pid"}, control.NotFound, "open the pid namespace /proc/0/ns/pid"},
		{specs.LinuxNamespace{Type: specs.IPCNamespace, Path: "/proc/0/ns/ipc"}, control.NotFound, "open the ipc namespace /proc/0/ns/ipc"},
		{specs.LinuxNamespace{Type: specs.PIDNamespace, Path: held("net")}, control.InvalidArgument, "enter the pid namespace"},
		{specs.LinuxNamespace{Type: specs.IPCNamespace, Path: held("net")}, control.InvalidArgument, "enter the ipc namespace"},
	} {
		_, err := (&sandboxTest{}).run(t, with(func(s *specs.Spec) {
			for i, ns := range s.Linux.Namespaces {
				if ns.Type == test.ns.Type {
					s.Linux.Namespaces[i] = test.ns
				}
			}
		}))
		wantRefusal(t, err, test.class, test.text)
	}
}

func TestNamespacesOfTheHost(t *testing.T) {
	v := mustRun(t, with(func(s *specs.Spec) {
		s.Hostname = ""
		s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	}), wish{})
	ours := links("/proc/self/ns")
	for _, kind := range []string{"pid", "ipc", "uts", "net", "cgroup"} {
		if v.Namespaces[kind] != ours[kind] {
			t.Errorf("%s is not that of the host", kind)
		}
	}
}

// The init has to be in its cgroup before it makes the namespace, which is why
// it waits for its configuration.
func TestCgroupNamespaceAndMount(t *testing.T) {
	for _, own := range []bool{true, false} {
		v := mustRun(t, with(func(s *specs.Spec) {
			if own {
				s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
			}
			s.Mounts = append(s.Mounts, specs.Mount{
				Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"},
			})
		}), wish{
			List:  []string{"/sys/fs/cgroup"},
			Read:  []string{"/proc/self/cgroup"},
			Write: []string{"/sys/fs/cgroup/x", "/sys/fs/cgroup/pids/tasks"},
		})
		if inOwn := v.Namespaces["cgroup"] != links("/proc/self/ns")["cgroup"]; inOwn != own {
			t.Errorf("in a cgroup namespace of its own: %t, want %t", inOwn, own)
		}
		if got := v.Tried["write /sys/fs/cgroup/x"]; got != "EROFS" && got != "EACCES" && got != "EPERM" {
			t.Errorf("write to /sys/fs/cgroup: %s", got)
		}
		host, err := hierarchies()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range host {
			m := v.mount("/sys/fs/cgroup/" + h.name)
			if m.Type != "cgroup" || !strings.HasPrefix(m.Options, "ro,nosuid,nodev,noexec") || !hasAll(m.Super, h.controllers) {
				t.Errorf("%s is mounted as %v", h.name, m)
			}
			if own && m.Root != "/" {
				t.Errorf("%s shows %s of the hierarchy", h.name, m.Root)
			}
		}
		if len(host) == 0 && v.mount("/sys/fs/cgroup").Type != "cgroup2" {
			t.Errorf("/sys/fs/cgroup is %v", v.mount("/sys/fs/cgroup"))
		}
	}
}

func TestParseHierarchies(t *testing.T) {
	got := parseHierarchies("5:cpu,cpuacct:/a/b\n3:memory:/a/b\n2:pids:/elsewhere\n1:name=systemd:/\n0::/x\n",
		`33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:29 / /other/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /a /sys/fs/cg\040roup/memory rw,relatime shared:3 - cgroup cgroup rw,memory
36 31 0:33 /a /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
nonsense
`)
	want := []hierarchy{
		{"cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct", "a/b"},
		{"memory", "/sys/fs/cg roup/memory", "memory", "b"},
		{"systemd", "/sys/fs/cgroup/systemd", "name=systemd", "."},
	}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
}
