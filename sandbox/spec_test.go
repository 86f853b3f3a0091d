package sandbox

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// What the spec asks and this package does not do is refused, and the sentence
// names the field.
func TestRefusals(t *testing.T) {
	mount := func(change func(*specs.Mount)) func(*specs.Spec) {
		return func(s *specs.Spec) {
			m := specs.Mount{Destination: "/data", Source: "/data", Options: []string{"rbind"}}
			change(&m)
			s.Mounts = []specs.Mount{m}
		}
	}
	options := func(o ...string) func(*specs.Spec) {
		return mount(func(m *specs.Mount) { m.Options = append(m.Options, o...) })
	}
	namespaces := func(ns ...specs.LinuxNamespace) func(*specs.Spec) {
		return func(s *specs.Spec) { s.Linux.Namespaces = ns }
	}
	mnt := specs.LinuxNamespace{Type: specs.MountNamespace}
	sysctl := func(key string) func(*specs.Spec) {
		return func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{key: "1"} }
	}
	device := func(d specs.LinuxDevice) func(*specs.Spec) {
		return func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{d} }
	}
	rlimit := func(l ...specs.POSIXRlimit) func(*specs.Spec) {
		return func(s *specs.Spec) { s.Process.Rlimits = l }
	}
	umask, score := uint32(0o1000), 1001
	hook := []specs.Hook{{Path: "/usr/bin/hook"}}
	for _, test := range []struct {
		field  string
		change func(*specs.Spec)
	}{
		{"ociVersion", func(s *specs.Spec) { s.Version = "2.0.0" }},
		{"solaris", func(s *specs.Spec) { s.Solaris = &specs.Solaris{Milestone: "x"} }},
		{"windows", func(s *specs.Spec) { s.Windows = &specs.Windows{LayerFolders: []string{"x"}} }},
		{"vm", func(s *specs.Spec) { s.VM = &specs.VM{Kernel: specs.VMKernel{Path: "x"}} }},
		{"zos", func(s *specs.Spec) { s.ZOS = &specs.ZOS{Namespaces: []specs.ZOSNamespace{{}}} }},
		{"freebsd", func(s *specs.Spec) { s.FreeBSD = &specs.FreeBSD{Jail: &specs.FreeBSDJail{}} }},
		{"hooks.prestart", func(s *specs.Spec) {
			//lint:ignore SA1019 refused as well
			s.Hooks = &specs.Hooks{Prestart: hook}
		}},
		{"hooks.createRuntime", func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: hook} }},
		{"hooks.createContainer", func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateContainer: hook} }},
		{"hooks.startContainer", func(s *specs.Spec) { s.Hooks = &specs.Hooks{StartContainer: hook} }},
		{"hooks.poststart", func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststart: hook} }},
		{"hooks.poststop", func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: hook} }},

		{"process", func(s *specs.Spec) { s.Process = nil }},
		{"process.commandLine", func(s *specs.Spec) { s.Process.CommandLine = "x" }},
		{"process.cwd", func(s *specs.Spec) { s.Process.Cwd = "" }},
		{"process.cwd", func(s *specs.Spec) { s.Process.Cwd = "relative" }},
		{"process.user.username", func(s *specs.Spec) { s.Process.User.Username = "x" }},
		{"process.user.umask", func(s *specs.Spec) { s.Process.User.Umask = &umask }},
		{"process.oomScoreAdj", func(s *specs.Spec) { s.Process.OOMScoreAdj = &score }},
		{"process.rlimits[0].type", rlimit(specs.POSIXRlimit{Type: "RLIMIT_X"})},
		{"process.rlimits[0]", rlimit(specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: 2, Hard: 1})},
		{"process.rlimits[0]", rlimit(specs.POSIXRlimit{Type: "RLIMIT_AS", Soft: 1 << 30, Hard: 1 << 30})},
		{"process.rlimits[0]", rlimit(specs.POSIXRlimit{Type: "RLIMIT_DATA", Soft: 1 << 30, Hard: unix.RLIM_INFINITY})},
		{"process.rlimits", rlimit(specs.POSIXRlimit{Type: "RLIMIT_CORE"}, specs.POSIXRlimit{Type: "RLIMIT_CORE"})},

		{"linux.namespaces", namespaces()},
		{"linux.namespaces", namespaces(mnt, mnt)},
		{"linux.namespaces", namespaces(specs.LinuxNamespace{Type: specs.MountNamespace, Path: "/proc/1/ns/mnt"})},
		{"linux.namespaces", namespaces(mnt, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "relative"})},
		{"linux.namespaces", namespaces(mnt, specs.LinuxNamespace{Type: "syslog"})},
		{"hostname", namespaces(mnt)},
		{"domainname", func(s *specs.Spec) { namespaces(mnt)(s); s.Hostname, s.Domainname = "", "x" }},
		{"linux.uidMappings", func(s *specs.Spec) { s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}} }},
		{"linux.gidMappings", func(s *specs.Spec) { s.Linux.GIDMappings = []specs.LinuxIDMapping{{Size: 1}} }},
		{"linux.timeOffsets", func(s *specs.Spec) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {}} }},
		{"linux.netDevices", func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth1": {}} }},
		{"linux.seccomp does not allow execveat,", func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno} }},
		{"linux.seccomp does not allow execveat, which", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"execveat"}, Action: specs.ActErrno}}}
		}},
		{"linux.seccomp does not allow capset, which", func(s *specs.Spec) {
			s.Process.NoNewPrivileges = false
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"capset"}, Action: specs.ActErrno}}}
		}},
		{"linux.seccomp.syscalls[0].names", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Action: specs.ActErrno}}}
		}},
		{"linux.intelRdt", func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "x"} }},
		{"linux.personality", func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} }},
		{"linux.rootfsPropagation", func(s *specs.Spec) { s.Linux.RootfsPropagation = "everywhere" }},
		{"linux.maskedPaths[0]", func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"proc/kcore"} }},
		{"linux.readonlyPaths[0]", func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"/\x00"} }},

		{"linux.sysctl", sysctl("vm.swappiness")},
		{"linux.sysctl", sysctl("kernel.hostname")},
		{"linux.sysctl", sysctl("user.max_user_namespaces")},
		{"linux.sysctl", sysctl("net/../kernel/sysrq")},
		{"linux.sysctl", sysctl("net..ipv4")},
		{"linux.sysctl", sysctl("")},
		{"linux.sysctl", func(s *specs.Spec) { namespaces(mnt)(s); s.Hostname = ""; sysctl("net.ipv4.ip_forward")(s) }},
		{"linux.sysctl", func(s *specs.Spec) { namespaces(mnt)(s); s.Hostname = ""; sysctl("kernel.shmmax")(s) }},
		{"linux.sysctl", func(s *specs.Spec) { namespaces(mnt)(s); s.Hostname = ""; sysctl("kernel.domainname")(s) }},
		{"linux.sysctl", func(s *specs.Spec) {
			namespaces(mnt, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/proc/self/ns/net"})(s)
			s.Hostname = ""
			sysctl("net.ipv4.ip_forward")(s)
		}},

		{"linux.devices[0].path", device(specs.LinuxDevice{Path: "dev/x", Type: "c"})},
		{"linux.devices[0].type", device(specs.LinuxDevice{Path: "/dev/x", Type: "a"})},
		{"linux.devices[0]", device(specs.LinuxDevice{Path: "/dev/x", Type: "c", Major: -1})},

		{"mounts[0].destination", mount(func(m *specs.Mount) { m.Destination = "data" })},
		{"mounts[0].source", mount(func(m *specs.Mount) { m.Source = "data" })},
		{"mounts[0].type", mount(func(m *specs.Mount) { m.Options = nil })},
		{"mounts[0].options", mount(func(m *specs.Mount) { m.Type, m.Options = "bind", nil })},
		{"mounts[0]", mount(func(m *specs.Mount) { m.Source = "/a\x00b" })},
		{"mounts[0].uidMappings", mount(func(m *specs.Mount) { m.UIDMappings = []specs.LinuxIDMapping{{Size: 1}} })},
		{"mounts[0].gidMappings", mount(func(m *specs.Mount) { m.GIDMappings = []specs.LinuxIDMapping{{Size: 1}} })},
		{"mounts[0].uidMappings[0].size", mount(func(m *specs.Mount) { m.UIDMappings = []specs.LinuxIDMapping{{}}; m.GIDMappings = ids(1) })},
		{"mounts[0]", mount(func(m *specs.Mount) { m.Type, m.Options, m.UIDMappings, m.GIDMappings = "tmpfs", nil, ids(1), ids(1) })},
		{`mounts[0].options of /data has "idmap"`, options("idmap")},
		{`mounts[0].options of /data has "ridmap"`, options("ridmap")},
		{`mounts[0].options of /data has "tmpcopyup"`, options("tmpcopyup")},
		{`mounts[0].options of /data has "remount"`, options("remount")},
		{`mounts[0].options of /data has "sync"`, options("sync")},
		{`mounts[0].options of /data has "size=1m"`, options("size=1m")},
		{`mounts[0].options of /data has "rsync"`, options("rsync")},
	} {
		spec := ctrSpec()
		test.change(spec)
		_, err := FromSpec(spec, "/rootfs", []string{"wasm-runner"})
		wantRefusal(t, err, control.InvalidArgument, test.field)
		if err != nil && !strings.HasPrefix(err.Error(), test.field) {
			t.Errorf("%q does not begin with %s", err, test.field)
		}
	}
}

func TestLabelsNeedTheirModule(t *testing.T) {
	for _, test := range []struct {
		field   string
		enabled bool
		change  func(*specs.Spec)
	}{
		{"process.apparmorProfile", apparmorEnabled(), func(s *specs.Spec) { s.Process.ApparmorProfile = "cri-containerd.apparmor.d" }},
		{"process.selinuxLabel", selinuxEnabled(), func(s *specs.Spec) { s.Process.SelinuxLabel = "system_u:system_r:container_t:s0" }},
		{"linux.mountLabel", selinuxEnabled(), func(s *specs.Spec) { s.Linux.MountLabel = "system_u:object_r:container_file_t:s0" }},
	} {
		_, err := FromSpec(with(test.change), "/rootfs", []string{"x"})
		if test.enabled {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		wantRefusal(t, err, control.InvalidArgument, test.field)
	}
	if _, err := FromSpec(with(func(s *specs.Spec) { s.Process.ApparmorProfile = "unconfined" }), "/rootfs", []string{"x"}); err != nil {
		t.Errorf("unconfined is what a process without AppArmor is: %v", err)
	}
}

func TestBadArguments(t *testing.T) {
	for _, test := range []struct {
		rootfs string
		argv   []string
	}{{"rootfs", []string{"x"}}, {"/", []string{"x"}}, {"/../", []string{"x"}}, {"/rootfs", nil}} {
		if _, err := FromSpec(ctrSpec(), test.rootfs, test.argv); err == nil {
			t.Errorf("%q with %q is accepted", test.rootfs, test.argv)
		}
	}
	if _, err := FromSpec(nil, "/rootfs", []string{"x"}); err == nil {
		t.Error("no spec is accepted")
	}
}

// What is present and says nothing is no request.
func TestEmptyStructuresAreNoRequest(t *testing.T) {
	c, err := FromSpec(with(func(s *specs.Spec) {
		s.Hooks, s.Windows, s.VM = &specs.Hooks{}, &specs.Windows{}, &specs.VM{}
		s.Process.Scheduler, s.Process.IOPriority, s.Process.ExecCPUAffinity = &specs.Scheduler{}, &specs.LinuxIOPriority{}, &specs.CPUAffinity{}
		s.Process.ConsoleSize = &specs.Box{Height: 24, Width: 80} // means nothing without a terminal
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
		s.Linux.IntelRdt, s.Linux.MemoryPolicy, s.Linux.Personality = &specs.LinuxIntelRdt{}, &specs.LinuxMemoryPolicy{}, &specs.LinuxPersonality{}
		s.Linux.UIDMappings, s.Linux.TimeOffsets = []specs.LinuxIDMapping{}, map[string]specs.LinuxTimeOffset{}
	}), "/rootfs", []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestCapabilitiesThatCannotBeGrantedAreLeftOutWithAWarning(t *testing.T) {
	c, err := FromSpec(with(func(s *specs.Spec) {
		s.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: []string{"CAP_KILL", "CAP_FLY"}, Permitted: []string{"CAP_FLY"}, Ambient: []string{"CAP_KILL"},
		}
	}), "/rootfs", []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Capabilities{Bounding: 1 << unix.CAP_KILL}); c.Capabilities != want {
		t.Errorf("got %+v, want %+v", c.Capabilities, want)
	}
	if len(c.Warnings) != 2 || !strings.Contains(c.Warnings[0], "[CAP_FLY]") || !strings.Contains(c.Warnings[1], "ambient: [CAP_KILL]") {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestMountOptions(t *testing.T) {
	const atime = unix.MOUNT_ATTR__ATIME
	for _, test := range []struct {
		options string
		want    Mount
	}{
		{"nosuid,noexec,nodev", Mount{Flags: unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV}},
		{"ro,rw,size=1m,mode=755", Mount{Data: "size=1m,mode=755"}},
		{"rro,sync,defaults", Mount{Flags: unix.MS_RDONLY | unix.MS_SYNCHRONOUS}},
		{"rprivate,shared", Mount{Propagation: []uintptr{unix.MS_PRIVATE | unix.MS_REC, unix.MS_SHARED}}},
		{"rbind,ro,nosuid", Mount{Bind: true, Recursive: true, Attr: Attr{Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}}},
		{"tmpcopyup,ro", Mount{CopyUp: true, Flags: unix.MS_RDONLY}},
		{"bind,ro,rw", Mount{Bind: true, Attr: Attr{Clear: unix.MOUNT_ATTR_RDONLY}}},
		{"bind,noatime", Mount{Bind: true, Attr: Attr{Set: unix.MOUNT_ATTR_NOATIME, Clear: atime}}},
		{"bind,noatime,strictatime", Mount{Bind: true, Attr: Attr{Set: unix.MOUNT_ATTR_STRICTATIME, Clear: atime}}},
		{"bind,noatime,atime", Mount{Bind: true, Attr: Attr{Clear: atime}}},
		{"rro,rbind,rnoatime,async", Mount{Bind: true, Recursive: true, AttrBelow: Attr{Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOATIME, Clear: atime}}},
	} {
		m, err := newMount(0, specs.Mount{Destination: "/d", Source: "/s", Type: "tmpfs", Options: strings.Split(test.options, ",")})
		if err != nil {
			t.Errorf("%s: %v", test.options, err)
			continue
		}
		test.want.Destination, test.want.Source, test.want.Type = "/d", "/s", m.Type
		if !reflect.DeepEqual(*m, test.want) {
			t.Errorf("%s: got %+v, want %+v", test.options, *m, test.want)
		}
	}
	words := MountOptions()
	if !slices.IsSorted(words) || !slices.Contains(words, "rro") || slices.Contains(words, "rsync") {
		t.Errorf("advertised are %v", words)
	}
	for _, w := range words {
		if _, err := newMount(0, specs.Mount{Destination: "/d", Source: "/s", Type: "tmpfs", Options: []string{w}}); err != nil {
			t.Errorf("%s is advertised and refused: %v", w, err)
		}
	}
}

// Before Linux 5.12 the attributes of a bind are changed by mount(2), which
// must keep those that nobody mentioned.
func TestRemountFlags(t *testing.T) {
	for _, test := range []struct {
		st   uint64
		a    Attr
		want uintptr
	}{
		{unix.ST_RELATIME, Attr{Set: unix.MOUNT_ATTR_RDONLY}, unix.MS_RDONLY | unix.MS_RELATIME},
		{unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOATIME, Attr{Set: unix.MOUNT_ATTR_NOEXEC, Clear: unix.MOUNT_ATTR_NODEV}, unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NOATIME},
		{unix.ST_NOATIME, Attr{Clear: unix.MOUNT_ATTR__ATIME}, unix.MS_RELATIME},
		{0, Attr{}, unix.MS_STRICTATIME},
		{unix.ST_RELATIME, Attr{Set: unix.MOUNT_ATTR_STRICTATIME, Clear: unix.MOUNT_ATTR__ATIME}, unix.MS_STRICTATIME},
		{unix.ST_RELATIME, Attr{Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME}, unix.MS_NOATIME},
	} {
		if got := remountFlags(test.st, test.a); got != test.want {
			t.Errorf("%#x changed by %+v: got %#x, want %#x", test.st, test.a, got, test.want)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	for key, want := range map[string]string{
		"net.ipv4.ip_forward":              "net/ipv4/ip_forward",
		"net/ipv4/ip_forward":              "net/ipv4/ip_forward",
		"net.ipv4.conf.eth0/1.rp_filter":   "net/ipv4/conf/eth0.1/rp_filter",
		"net/ipv4/conf/eth0.1/rp_filter":   "net/ipv4/conf/eth0.1/rp_filter",
		"kernel.shm_rmid_forced":           "kernel/shm_rmid_forced",
		"net.ipv4.conf.default.forwarding": "net/ipv4/conf/default/forwarding",
	} {
		if got := sysctlPath(key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
}

// The init builds exactly what the shim has validated.
func TestConfigSurvivesTheWayToTheInit(t *testing.T) {
	score := -5
	c, err := FromSpec(with(func(s *specs.Spec) {
		s.Process.OOMScoreAdj = &score
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		s.Process.User.AdditionalGids = []uint32{1}
		s.Linux.Seccomp = deny(specs.ActErrno, "getpriority")
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{script("true")}, CreateContainer: []specs.Hook{script("true")}}
		s.Linux.Namespaces[0].Path = "/proc/1/ns/pid"
		s.Linux.Namespaces[1].Path = "/proc/1/ns/ipc"
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/d", Source: "/s", Options: []string{"rbind", "rro", "rslave", "noexec"}})
	}), "/rootfs", []string{"x"}, WithHooks(specs.State{ID: "c1", Bundle: "/b"}))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var got Config
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&got, c) {
		t.Errorf("got %+v, want %+v", &got, c)
	}
}
