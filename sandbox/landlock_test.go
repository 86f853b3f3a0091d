package sandbox

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// confine runs the probe with a Landlock domain in a root that holds some files.
func confine(t *testing.T, spec *specs.Spec, w wish, reach ...Reach) *view {
	t.Helper()
	if LandlockABI() == 0 {
		t.Skip("this kernel has no Landlock")
	}
	s := &sandboxTest{rootfs: newRootfs(t), wish: w, holes: true}
	for _, path := range []string{"data/file", "etc/hosts", "other/file", "run/secret"} {
		write(t, filepath.Join(s.rootfs, path), path)
	}
	symlink(t, "/other/file", filepath.Join(s.rootfs, "etc/resolv.conf"))
	if err := os.Chmod(filepath.Join(s.rootfs, "data"), 0o777); err != nil {
		t.Fatal(err)
	}
	wanted, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	c, err := FromSpec(spec, s.rootfs, []string{"wasm-runner", "probe", string(wanted)})
	if err != nil {
		t.Fatal(err)
	}
	c.Landlock = reach
	v, err := s.runConfig(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestProgramReachesWhatItsLandlockDomainGrants(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){
		"root":                        func(*specs.Spec) {},
		"without no_new_privs":        func(s *specs.Spec) { s.Process.NoNewPrivileges = false },
		"user":                        func(s *specs.Spec) { s.Process.User = specs.User{UID: 1000, GID: 1000} },
		"user without no_new_privs":   func(s *specs.Spec) { s.Process.User.UID = 1000; s.Process.NoNewPrivileges = false },
		"profile":                     func(s *specs.Spec) { s.Linux.Seccomp = containerdProfile(t) },
		"profile without privileges":  func(s *specs.Spec) { s.Process.Capabilities = nil; s.Linux.Seccomp = containerdProfile(t) },
		"profile, no no_new_privs":    func(s *specs.Spec) { s.Process.NoNewPrivileges = false; s.Linux.Seccomp = containerdProfile(t) },
		"profile that forbids it all": func(s *specs.Spec) { s.Linux.Seccomp = deny(specs.ActErrno, "landlock_restrict_self") },
	} {
		v := confine(t, with(change), wish{
			Read:  []string{"/data/file", "/etc/hosts", "/etc/resolv.conf", "/run/mounts", "/proc/self/comm", "/proc/self/exe"},
			Write: []string{"/data/new", "/run/new"}, Open: []string{"/etc/hosts"}, List: []string{"/data", "/etc", "/"},
		},
			Reach{Path: "/data", Write: true}, Reach{Path: "/etc/hosts"}, Reach{Path: "/etc/resolv.conf"},
			Reach{Path: "/absent"}, Reach{Path: "/proc/self/fd/5"})
		delete(v.Tried, "read /proc/self/exe") // The program itself is readable; it is not the container's.
		for what, want := range map[string]string{
			"read /data/file": "ok data/file", "read /etc/hosts": "ok etc/hosts", "read /etc/resolv.conf": "ok other/file",
			"write /data/new": "ok ", "list /data": "ok file",
			"write /run/new": "EACCES", "open /etc/hosts": "EACCES", "list /etc": "EACCES", "list /": "EACCES",
			"read /proc/self/comm": "EACCES",
		} {
			if got := v.Tried[what]; got != want {
				t.Errorf("%s: %s gives %q, want %q", name, what, got, want)
			}
		}
	}
}

func TestADomainOfTheRootIsTheContainer(t *testing.T) {
	v := confine(t, ctrSpec(), wish{
		Read: []string{"/data/file", "/proc/self/comm"}, Write: []string{"/run/x", "/x"}, List: []string{"/"}, Open: []string{"/dev/null"},
	}, Reach{Path: "/", Write: true, Control: true})
	for what, want := range map[string]string{
		"read /data/file": "ok data/file", "write /run/x": "ok ", "write /x": "ok ", "open /dev/null": "ok ",
	} {
		if got := v.Tried[what]; got != want {
			t.Errorf("%s gives %q, want %q", what, got, want)
		}
	}
	if v.Status["NoNewPrivs"] != "1" || v.FDs["0"] == "" {
		t.Errorf("the rest of the sandbox differs: %v", v.Status)
	}
}
