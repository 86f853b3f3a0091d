package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// volume is a directory of the host with a file of the user 0 and one of 1000,
// and below it another file system, on a path that only the host's root can
// walk.
func volume(t *testing.T) string {
	t.Helper()
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "volume")
	write(t, dir+"/root", "")
	write(t, dir+"/user", "")
	if err := os.Mkdir(dir+"/below", 0o755); err != nil {
		t.Fatal(err)
	}
	tmpfs(t, dir+"/below", 0)
	write(t, dir+"/below/root", "")
	if err := os.Chown(dir+"/user", 1000, 1001); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestIDMappedMounts(t *testing.T) {
	const mapped, shifted, foreign = "0100644 0:0 0:0", "0100644 0:0 1000:1001", "0100644 0:0 65534:65534"
	for name, test := range map[string]struct {
		options []string
		// uids and gids are the mappings of the mount; 0 is none.
		uids, gids uint32
		user       bool
		// what the container sees, and who owns on the host what its root makes.
		root, other, below string
		made               [2]uint32
	}{
		// What CRI asks of volumes of a Pod with hostUsers: false.
		"by mappings, in a user namespace":      {[]string{"rbind"}, 100000, 200000, true, mapped, shifted, foreign, [2]uint32{0, 0}},
		"by the container's user namespace":     {[]string{"rbind", "idmap"}, 0, 0, true, mapped, shifted, foreign, [2]uint32{0, 0}},
		"recursively, in a user namespace":      {[]string{"rbind", "ridmap"}, 0, 0, true, mapped, shifted, mapped, [2]uint32{0, 0}},
		"recursively, by mappings":              {[]string{"rbind", "ridmap"}, 100000, 200000, true, mapped, shifted, mapped, [2]uint32{0, 0}},
		"not at all, in a user namespace":       {[]string{"rbind"}, 0, 0, true, foreign, foreign, foreign, [2]uint32{0, 0}},
		"by mappings, without a user namespace": {[]string{"rbind", "idmap"}, 5000, 6000, false, "0100644 0:0 5000:6000", "0100644 0:0 6000:7001", mapped, [2]uint32{0, 0}},
		"recursively, without a user namespace": {[]string{"rbind", "ridmap"}, 5000, 6000, false, "0100644 0:0 5000:6000", "0100644 0:0 6000:7001", "0100644 0:0 5000:6000", [2]uint32{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := volume(t)
			s := &sandboxTest{rootfs: remapped(t), wish: wish{
				Describe: []string{"/volume/root", "/volume/user", "/volume/below/root"},
				Write:    []string{"/volume/made"},
			}}
			v, err := s.run(t, with(func(s *specs.Spec) {
				m := specs.Mount{Destination: "/volume", Source: dir, Options: test.options}
				if test.uids != 0 {
					m.UIDMappings, m.GIDMappings = ids(test.uids), ids(test.gids)
				}
				s.Mounts = append(s.Mounts, m)
				if test.user {
					inUserNamespace(s)
				} else {
					s.Process.User = specs.User{UID: 5000, GID: 6000}
				}
			}))
			if err != nil {
				t.Fatal(err)
			}
			wantTried(t, v, map[string]string{
				"describe /volume/root":       test.root,
				"describe /volume/user":       test.other,
				"describe /volume/below/root": test.below,
			})
			if test.root == foreign {
				if got := v.Tried["write /volume/made"]; got != "EACCES" {
					t.Errorf("to write into what belongs to nobody gives %s", got)
				}
				return
			}
			if got := v.Tried["write /volume/made"]; got != "ok " {
				t.Fatalf("write: %s", got)
			}
			if got := owner(t, dir+"/made"); got != test.made {
				t.Errorf("what the container makes belongs to %v on the host, want %v", got, test.made)
			}
		})
	}
}

func TestIDMappingThatTheKernelRefuses(t *testing.T) {
	bind := func(source string, options ...string) *specs.Spec {
		return with(func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{
				Destination: "/volume", Source: source, Options: options,
				UIDMappings: ids(1000), GIDMappings: ids(1000),
			})
		})
	}
	for _, user := range []bool{false, true} {
		spec := bind("/proc/bus", "bind", "idmap")
		if user {
			inUserNamespace(spec)
		}
		_, err := (&sandboxTest{rootfs: remapped(t)}).run(t, spec)
		wantRefusal(t, err, control.InvalidArgument, "mount /proc/bus on /volume: its file system, or one below it, cannot be id-mapped by this kernel")
	}
	_, err := (&sandboxTest{}).run(t, bind("/no/such/volume", "bind"))
	wantRefusal(t, err, control.NotFound, "mount /no/such/volume on /volume: no such file")
}

func TestIDMapsAreComparedInAnyOrder(t *testing.T) {
	list := []specs.LinuxIDMapping{{ContainerID: 10, HostID: 5, Size: 1}, {HostID: 100, Size: 10}}
	for content, want := range map[string]bool{
		"         0        100         10\n        10          5          1\n": true,
		"        10          5          1\n         0        100         10\n": true,
		"         0        100         10\n":                                   false,
		"         0        100         10\n        10          5          2\n": false,
	} {
		if got := sameIDMap(list, content); got != want {
			t.Errorf("%q: %t", content, got)
		}
	}
}
