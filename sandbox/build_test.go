package sandbox

import (
	"maps"
	"os"

	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func TestProgramOfCtrRunSeesItsSandbox(t *testing.T) {
	v := mustRun(t, ctrSpec(), wish{
		Read:  []string{"/proc/kcore", "/proc/keys"},
		List:  []string{"/sys/firmware", "/"},
		Write: []string{"/sys/x", "/proc/sys/kernel/msgmax", "/run/x", "/x", "/dev/shm/x", "/dev/null"},
		Open:  []string{"/proc/self/exe"},
	})

	t.Run("namespaces", func(t *testing.T) {
		ours := links("/proc/self/ns")
		for _, kind := range []string{"pid", "ipc", "uts", "mnt", "net"} {
			if v.Namespaces[kind] == ours[kind] {
				t.Errorf("%s is that of the host", kind)
			}
		}
		for _, kind := range []string{"cgroup", "user", "time"} {
			if v.Namespaces[kind] != ours[kind] {
				t.Errorf("%s is not that of the host", kind)
			}
		}
		if v.PID != 1 || v.SID != 1 {
			t.Errorf("pid %d of session %d, want 1 of 1", v.PID, v.SID)
		}
		if v.Host != "sandbox-test" {
			t.Errorf("hostname %q", v.Host)
		}
		if !v.LoUp {
			t.Error("the loopback interface is down")
		}
	})
	t.Run("process", func(t *testing.T) {
		if len(v.Env) != 0 {
			t.Errorf("environment is %q, want none", v.Env)
		}
		if v.Args[0] != "wasm-runner" || v.Cwd != "/" || v.Umask != 0o022 {
			t.Errorf("argv %q, cwd %s, umask %#o", v.Args, v.Cwd, v.Umask)
		}
		if got := v.Rlimits["7"]; got != [2]uint64{1024, 1024} {
			t.Errorf("RLIMIT_NOFILE is %v", got)
		}
		for key, want := range map[string]string{
			"CapBnd": "00000000a80425fb", "CapEff": "00000000a80425fb", "CapPrm": "00000000a80425fb",
			"CapInh": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1",
			"SigBlk": "0000000000000000",
		} {
			if v.Status[key] != want {
				t.Errorf("%s is %s, want %s", key, v.Status[key], want)
			}
		}
	})
	t.Run("descriptors", func(t *testing.T) {
		want := []string{"0", "1", "2", "4", "6", "7", "8"}
		if got := slices.Sorted(maps.Keys(v.FDs)); !slices.Equal(got, want) {
			t.Errorf("open are %v, want %v", v.FDs, want)
		}
		if !v.OwnNull {
			t.Error("stdin is the host's /dev/null")
		}
		// Busy while it runs; that it is read-only at all times is tested with
		// OpenProgram.
		if got := v.Tried["open /proc/self/exe"]; got != "EROFS" && got != "ETXTBSY" {
			t.Errorf("to write to /proc/self/exe gives %s", got)
		}
	})
	t.Run("mounts", func(t *testing.T) {
		for at, want := range map[string]string{
			"/":                   "ext4 rw",
			"/proc":               "proc rw,nosuid,nodev,noexec,relatime",
			"/dev":                "tmpfs rw,nosuid",
			"/dev/pts":            "devpts rw,nosuid,noexec,relatime",
			"/dev/shm":            "tmpfs rw,nosuid,nodev,noexec,relatime",
			"/dev/mqueue":         "mqueue rw,nosuid,nodev,noexec,relatime",
			"/sys":                "sysfs ro,nosuid,nodev,noexec,relatime",
			"/run":                "tmpfs rw,nosuid",
			"/proc/sys":           "proc ro,nosuid,nodev,noexec,relatime",
			"/proc/sysrq-trigger": "proc ro,nosuid,nodev,noexec,relatime",
		} {
			if _, err := os.Stat(at); err != nil {
				continue // a path that this kernel does not have
			}
			m := v.mount(at)
			if got := m.Type + " " + m.Options; at != "/" && got != want {
				t.Errorf("%s is %q, want %q", at, got, want)
			}
		}
		for _, m := range v.Mounts {
			if m.Optional != "" {
				t.Errorf("%s propagates: %s", m.At, m.Optional)
			}
		}
		if got := v.Tried["list /"]; got != "ok dev proc run sys" {
			t.Errorf("the root holds %q", got)
		}
	})
	t.Run("dev", func(t *testing.T) {
		want := map[string]string{
			"null": "020666 1:3 0:0", "zero": "020666 1:5 0:0", "full": "020666 1:7 0:0",
			"random": "020666 1:8 0:0", "urandom": "020666 1:9 0:0", "tty": "020666 5:0 0:0",
			"ptmx": "-> pts/ptmx", "fd": "-> /proc/self/fd", "stdin": "-> /proc/self/fd/0",
			"stdout": "-> /proc/self/fd/1", "stderr": "-> /proc/self/fd/2",
			"pts": "040755 0:0 0:0", "shm": "041777 0:0 0:0", "mqueue": "041777 0:0 0:0",
		}
		delete(v.Dev, "core")
		if !maps.Equal(v.Dev, want) {
			t.Errorf("got %v, want %v", v.Dev, want)
		}
	})
	t.Run("restrictions", func(t *testing.T) {
		for try, want := range map[string]string{
			"read /proc/keys":               "ok ",
			"list /sys/firmware":            "ok ",
			"write /sys/x":                  "EROFS",
			"write /proc/sys/kernel/msgmax": "EROFS",
			"write /run/x":                  "ok ",
			"write /x":                      "ok ",
			"write /dev/shm/x":              "ok ",
			"write /dev/null":               "ok ",
		} {
			if got := v.Tried[try]; got != want {
				t.Errorf("%s: %s, want %s", try, got, want)
			}
		}
		if got := v.Tried["read /proc/kcore"]; got != "ok " && got != "ENOENT" {
			t.Errorf("read /proc/kcore: %.20s", got)
		}
	})
}

func TestProgramRunsAsTheUserOfTheSpec(t *testing.T) {
	umask := uint32(0o077)
	v := mustRun(t, with(func(s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 6}, Umask: &umask}
		s.Process.Cwd = "/home/user/made"
		s.Process.NoNewPrivileges = false
		s.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding:    []string{"CAP_NET_BIND_SERVICE", "CAP_KILL"},
			Permitted:   []string{"CAP_NET_BIND_SERVICE", "CAP_KILL"},
			Effective:   []string{"CAP_NET_BIND_SERVICE"},
			Inheritable: []string{"CAP_NET_BIND_SERVICE"},
			Ambient:     []string{"CAP_NET_BIND_SERVICE"},
		}
	}), wish{List: []string{"/proc/self/fd"}})
	if v.UID != [3]int{1000, 1000, 1000} || v.GID != [3]int{1001, 1001, 1001} || !slices.Equal(v.Groups, []int{5, 6}) {
		t.Errorf("user %v, group %v, groups %v", v.UID, v.GID, v.Groups)
	}
	if v.Umask != 0o077 || v.Cwd != "/home/user/made" {
		t.Errorf("umask %#o, cwd %s", v.Umask, v.Cwd)
	}
	for key, want := range map[string]string{
		"CapBnd": "0000000000000420", "CapPrm": "0000000000000400", "CapEff": "0000000000000400",
		"CapInh": "0000000000000400", "CapAmb": "0000000000000400", "NoNewPrivs": "0",
	} {
		if v.Status[key] != want {
			t.Errorf("%s is %s, want %s", key, v.Status[key], want)
		}
	}
	if got := v.Tried["list /proc/self/fd"]; !strings.HasPrefix(got, "ok") {
		t.Errorf("the program may not look at itself: %s", got)
	}
}

func TestDescriptorsThatAreNotPassedStayClosed(t *testing.T) {
	v, err := (&sandboxTest{holes: true}).run(t, ctrSpec())
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(v.FDs)); !slices.Equal(got, []string{"0", "1", "2", "4"}) {
		t.Errorf("open are %v", v.FDs)
	}
}

// The limit is on the program, not on what the init needs to get there.
func TestTightLimits(t *testing.T) {
	v := mustRun(t, with(func(s *specs.Spec) {
		s.Process.Rlimits = []specs.POSIXRlimit{
			{Type: "RLIMIT_NOFILE", Soft: 10, Hard: 10},
			{Type: "RLIMIT_CORE", Soft: 1, Hard: 2},
			{Type: "RLIMIT_AS", Soft: unix.RLIM_INFINITY, Hard: unix.RLIM_INFINITY},
		}
		s.Process.User.UID = 1000
	}), wish{})
	if v.Rlimits["7"] != [2]uint64{10, 10} || v.Rlimits["4"] != [2]uint64{1, 2} {
		t.Errorf("limits are %v", v.Rlimits)
	}
}

func TestNoCapabilitiesInTheSpecMeansNone(t *testing.T) {
	v := mustRun(t, with(func(s *specs.Spec) { s.Process.Capabilities = nil }), wish{})
	for _, key := range []string{"CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"} {
		if v.Status[key] != "0000000000000000" {
			t.Errorf("%s is %s", key, v.Status[key])
		}
	}
}

func TestSysctls(t *testing.T) {
	v := mustRun(t, with(func(s *specs.Spec) {
		s.Linux.Sysctl = map[string]string{
			"net.ipv4.ip_unprivileged_port_start": "0",
			"kernel/shmmni":                       "1234",
			"kernel.domainname":                   "example.org",
			"net/ipv4/conf/lo/forwarding":         "1",
		}
	}), wish{Read: []string{"/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shmmni", "/proc/sys/net/ipv4/conf/lo/forwarding"}})
	for path, want := range map[string]string{
		"net/ipv4/ip_unprivileged_port_start": "0", "kernel/shmmni": "1234", "net/ipv4/conf/lo/forwarding": "1",
	} {
		if got := v.Tried["read /proc/sys/"+path]; got != "ok "+want+"\n" {
			t.Errorf("%s is %q, want %s", path, got, want)
		}
	}
	if v.Domain != "example.org" {
		t.Errorf("domain name is %s", v.Domain)
	}
}

func TestOOMScore(t *testing.T) {
	score := 567
	read := wish{Read: []string{"/proc/self/oom_score_adj"}}
	v := mustRun(t, with(func(s *specs.Spec) { s.Process.OOMScoreAdj = &score }), read)
	if got := v.Tried["read /proc/self/oom_score_adj"]; got != "ok 567\n" {
		t.Errorf("oom_score_adj is %q", got)
	}
	lower := -999
	mustRun(t, with(func(s *specs.Spec) { s.Process.OOMScoreAdj = &lower }), read)
}

func TestRlimitBeyondTheHardLimit(t *testing.T) {
	if grantable(unix.CAP_SYS_RESOURCE) {
		t.Skip("this process may raise any limit")
	}
	_, err := (&sandboxTest{}).run(t, with(func(s *specs.Spec) {
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1 << 20, Hard: 1 << 20}}
	}))
	wantRefusal(t, err, control.InvalidArgument, "process.rlimits: RLIMIT_NOFILE cannot be raised to 1048576")
}

// wantRefusal checks the class of an error and that its sentence contains text.
func wantRefusal(t testing.TB, err error, class control.Class, text string) {
	t.Helper()
	e, ok := err.(*control.Error)
	if !ok {
		t.Errorf("got %v (%T), want %q", err, err, text)
		return
	}
	if e.Class != class || !strings.Contains(e.Message, text) {
		t.Errorf("got %s: %q, want %s: %q", e.Class, e.Message, class, text)
	}
}
