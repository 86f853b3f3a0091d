package sandbox

import (
	"os"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ids are the mappings of a container whose root is the host's user first.
func ids(first uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: first, Size: 65536}}
}

// inUserNamespace adds a new user namespace.
func inUserNamespace(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings, s.Linux.GIDMappings = ids(100000), ids(200000)
}

// remapped makes a root file system whose root owns what a snapshotter gives to
// the container's root, in a directory that only the host's root can enter.
func remapped(t *testing.T) string {
	rootfs := newRootfs(t)
	if err := os.Chown(rootfs, 100000, 200000); err != nil {
		t.Fatal(err)
	}
	return rootfs
}

func TestUserNamespace(t *testing.T) {
	s := &sandboxTest{rootfs: remapped(t), wish: wish{
		Read:     []string{"/proc/self/uid_map", "/proc/self/gid_map", "/proc/kcore"},
		Describe: []string{"/", "/run", "/dev/shm", "/proc/1"},
		Write:    []string{"/run/x", "/x", "/dev/null", "/proc/sys/kernel/msgmax"},
	}}
	v, err := s.run(t, with(inUserNamespace))
	if err != nil {
		t.Fatal(err)
	}
	ours := links("/proc/self/ns")
	for _, kind := range []string{"pid", "ipc", "uts", "mnt", "net", "user"} {
		if v.Namespaces[kind] == ours[kind] {
			t.Errorf("%s is that of the host", kind)
		}
	}
	t.Log(v.Tried, v.Dev, v.FDs, v.Status["CapEff"], v.PID, v.SID, v.Host, v.LoUp, v.Groups)
	var st unix.Stat_t
	if err := unix.Stat(s.rootfs+"/x", &st); err != nil || st.Uid != 100000 || st.Gid != 200000 {
		t.Errorf("a file of the container's root belongs to %d:%d, %v", st.Uid, st.Gid, err)
	}
}
