package sandbox

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
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
func remapped(t testing.TB) string {
	t.Helper()
	rootfs := newRootfs(t)
	if err := os.Chown(rootfs, 100000, 200000); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(rootfs), 0o700); err != nil {
		t.Fatal(err)
	}
	return rootfs
}

func wantTried(t *testing.T, v *view, want map[string]string) {
	t.Helper()
	for try, want := range want {
		if got := v.Tried[try]; got != want {
			t.Errorf("%s: %s, want %s", try, got, want)
		}
	}
}

// owner gives the owner of a file on the host.
func owner(t *testing.T, path string) [2]uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return [2]uint32{st.Uid, st.Gid}
}

func TestUserNamespace(t *testing.T) {
	score := 500
	rootfs := remapped(t)
	s := &sandboxTest{rootfs: rootfs, wish: wish{
		Read:     []string{"/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/oom_score_adj", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax"},
		List:     []string{"/proc/acpi", "/sys/firmware"},
		Describe: []string{"/", "/run", "/dev/shm", "/dev/pts", "/sys"},
		Write:    []string{"/run/x", "/x", "/dev/null", "/proc/sys/kernel/msgmax", "/sys/x"},
		Open:     []string{"/proc/self/exe"},
		Calls:    []string{"mknod", "settimeofday"},
	}}
	v, err := s.run(t, with(func(s *specs.Spec) {
		inUserNamespace(s)
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
		s.Process.OOMScoreAdj = &score
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}
	}))
	if err != nil {
		t.Fatal(err)
	}
	ours := links("/proc/self/ns")
	for _, kind := range []string{"pid", "ipc", "uts", "mnt", "net", "user", "cgroup"} {
		if v.Namespaces[kind] == ours[kind] {
			t.Errorf("%s is that of the host", kind)
		}
	}
	wantTried(t, v, map[string]string{
		"read /proc/self/oom_score_adj":      "ok 500\n",
		"read /proc/sys/net/ipv4/ip_forward": "ok 1\n",
		"read /proc/sys/kernel/msgmax":       "ok 4096\n",
		"describe /":                         "040755 0:0 0:0",
		"describe /run":                      "040755 0:0 0:0",
		"describe /dev/shm":                  "041777 0:0 0:0",
		"describe /dev/pts":                  "040755 0:0 0:0",
		"list /sys/firmware":                 "ok ",
		"write /run/x":                       "ok ",
		"write /x":                           "ok ",
		"write /dev/null":                    "ok ",
		"write /proc/sys/kernel/msgmax":      "EROFS",
		"write /sys/x":                       "EROFS",
		"open /proc/self/exe":                "EACCES",
		"call mknod":                         "EPERM",
		"call settimeofday":                  "EPERM",
		"describe /sys":                      "040555 0:0 65534:65534",
	})
	for file, first := range map[string]string{"uid_map": "100000", "gid_map": "200000"} {
		if got := strings.Fields(v.Tried["read /proc/self/"+file]); strings.Join(got, " ") != "ok 0 "+first+" 65536" {
			t.Errorf("%s is %q", file, got)
		}
	}
	if v.PID != 1 || v.SID != 1 || v.Host != "sandbox-test" || !v.LoUp || len(v.Groups) != 0 || !v.OwnNull {
		t.Errorf("pid %d, session %d, host %s, loopback up %t, groups %v, own /dev/null %t", v.PID, v.SID, v.Host, v.LoUp, v.Groups, v.OwnNull)
	}
	if v.Dev["null"] != "020666 1:3 65534:65534" || v.Dev["ptmx"] != "-> pts/ptmx" {
		t.Errorf("devices are %v", v.Dev)
	}
	if v.Status["CapEff"] != "00000000a80425fb" || v.Status["SigBlk"] != "0000000000000000" {
		t.Errorf("capabilities %s, blocked signals %s", v.Status["CapEff"], v.Status["SigBlk"])
	}
	for _, fd := range []string{"3", "5", "9", "10", "11", "12", "13"} {
		// The Go runtime of the probe finds the container's cgroup.
		if target, ok := v.FDs[fd]; ok && !strings.HasPrefix(target, "/sys/fs/cgroup/") {
			t.Errorf("descriptor %s is %s", fd, target)
		}
	}
	if got := owner(t, rootfs+"/x"); got != [2]uint32{100000, 200000} {
		t.Errorf("a file of the container's root belongs to %v", got)
	}
}

func TestUserInAUserNamespace(t *testing.T) {
	rootfs := remapped(t)
	if err := os.Chmod(rootfs, 0o777); err != nil {
		t.Fatal(err)
	}
	v, err := (&sandboxTest{rootfs: rootfs, wish: wish{Write: []string{"/x"}}}).run(t, with(func(s *specs.Spec) {
		inUserNamespace(s)
		s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{7}}
		// The host lacks this one, the user namespace does not.
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_SYS_RESOURCE"}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if v.UID != [3]int{1000, 1000, 1000} || v.GID != [3]int{1001, 1001, 1001} || len(v.Groups) != 1 || v.Groups[0] != 7 {
		t.Errorf("user %v, group %v, groups %v", v.UID, v.GID, v.Groups)
	}
	if v.Status["CapBnd"] != "0000000001000000" || v.Status["CapEff"] != "0000000000000000" {
		t.Errorf("bounding set %s, effective %s", v.Status["CapBnd"], v.Status["CapEff"])
	}
	if got := owner(t, rootfs+"/x"); got != [2]uint32{101000, 201001} {
		t.Errorf("a file of the user belongs to %v", got)
	}
}

// As CRI does for a container of a Pod with hostUsers: false.
func TestJoinedUserNamespace(t *testing.T) {
	held := hold(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNET|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS|unix.CLONE_NEWPID|unix.CLONE_NEWCGROUP)
	join := func(kinds ...specs.LinuxNamespaceType) func(*specs.Spec) {
		return func(s *specs.Spec) {
			inUserNamespace(s)
			for i, ns := range s.Linux.Namespaces {
				for _, kind := range kinds {
					if ns.Type == kind {
						file := map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "net"}[kind]
						if file == "" {
							file = string(kind)
						}
						s.Linux.Namespaces[i].Path = held(file)
					}
				}
			}
		}
	}
	for name, kinds := range map[string][]specs.LinuxNamespaceType{
		"without its pids": {specs.UserNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace},
		"with its pids":    {specs.UserNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.PIDNamespace},
		"alone":            {specs.UserNamespace},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := (&sandboxTest{rootfs: remapped(t), wish: wish{Describe: []string{"/run"}, List: []string{"/proc"}}}).run(t, with(join(kinds...)))
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range kinds {
				file := map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "net"}[kind]
				if file == "" {
					file = string(kind)
				}
				if want, _ := os.Readlink(held(file)); v.Namespaces[file] != want {
					t.Errorf("%s is %s, want that of the holder, %s", kind, v.Namespaces[file], want)
				}
			}
			if v.Tried["describe /run"] != "040755 0:0 0:0" || !strings.HasPrefix(v.Tried["list /proc"], "ok 1 ") {
				t.Errorf("got %v", v.Tried)
			}
		})
	}
	t.Run("with other mappings", func(t *testing.T) {
		spec := with(join(specs.UserNamespace))
		spec.Linux.UIDMappings = ids(100001)
		_, err := (&sandboxTest{rootfs: remapped(t)}).run(t, spec)
		wantRefusal(t, err, control.InvalidArgument, "linux.uidMappings and linux.gidMappings are not those of the user namespace /proc/")
	})
	t.Run("without mappings", func(t *testing.T) {
		spec := with(join(specs.UserNamespace))
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = nil, nil
		if _, err := (&sandboxTest{rootfs: remapped(t)}).run(t, spec); err != nil {
			t.Error(err)
		}
	})
	t.Run("that is gone", func(t *testing.T) {
		spec := with(join(specs.UserNamespace))
		spec.Linux.Namespaces[len(spec.Linux.Namespaces)-1].Path = "/proc/0/ns/user"
		_, err := (&sandboxTest{rootfs: remapped(t)}).run(t, spec)
		wantRefusal(t, err, control.NotFound, "linux.namespaces: user namespace")
	})
	t.Run("that is another kind", func(t *testing.T) {
		spec := with(join(specs.UserNamespace))
		spec.Linux.Namespaces[len(spec.Linux.Namespaces)-1].Path = held("net")
		_, err := (&sandboxTest{rootfs: remapped(t)}).run(t, spec)
		wantRefusal(t, err, control.InvalidArgument, "linux.namespaces: enter the user namespace /proc/")
	})
}

func TestMappingsThatAreRefused(t *testing.T) {
	own := func(change func(*specs.Linux)) *specs.Spec {
		return with(func(s *specs.Spec) {
			inUserNamespace(s)
			change(s.Linux)
		})
	}
	many := make([]specs.LinuxIDMapping, 341)
	for i := range many {
		many[i] = specs.LinuxIDMapping{ContainerID: uint32(i), HostID: uint32(i), Size: 1}
	}
	for text, spec := range map[string]*specs.Spec{
		"linux.namespaces has a new user namespace, but linux.uidMappings and linux.gidMappings are not set": own(func(l *specs.Linux) { l.UIDMappings, l.GIDMappings = nil, nil }),
		"linux.uidMappings is set, but linux.gidMappings is not":                                             own(func(l *specs.Linux) { l.GIDMappings = nil }),
		"linux.gidMappings is set, but linux.uidMappings is not":                                             own(func(l *specs.Linux) { l.UIDMappings = nil }),
		"but linux.namespaces has no user namespace":                                                         own(func(l *specs.Linux) { l.Namespaces = l.Namespaces[:len(l.Namespaces)-1] }),
		"linux.uidMappings[0].size is 0":                                                                     own(func(l *specs.Linux) { l.UIDMappings = []specs.LinuxIDMapping{{}} }),
		"linux.uidMappings[0] reaches beyond the last id": own(func(l *specs.Linux) {
			l.UIDMappings = []specs.LinuxIDMapping{{HostID: 1<<32 - 2, Size: 2}}
		}),
		"linux.gidMappings[0] and [1] overlap": own(func(l *specs.Linux) {
			l.GIDMappings = []specs.LinuxIDMapping{{HostID: 100, Size: 10}, {ContainerID: 9, HostID: 200, Size: 1}}
		}),
		"linux.uidMappings[0] and [1] overlap": own(func(l *specs.Linux) {
			l.UIDMappings = []specs.LinuxIDMapping{{HostID: 100, Size: 10}, {ContainerID: 10, HostID: 95, Size: 6}}
		}),
		"linux.uidMappings has 341 ranges":  own(func(l *specs.Linux) { l.UIDMappings = many }),
		"do not map the container's root":   own(func(l *specs.Linux) { l.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 1, Size: 5}} }),
		"process.user.uid: 70000 is not an": with(func(s *specs.Spec) { inUserNamespace(s); s.Process.User.UID = 70000 }),
		"process.user.gid: 70000 is not an": with(func(s *specs.Spec) { inUserNamespace(s); s.Process.User.GID = 70000 }),
		"process.user.additionalGids: 70000 is not an": with(func(s *specs.Spec) {
			inUserNamespace(s)
			s.Process.User.AdditionalGids = []uint32{1, 70000}
		}),
		`"/proc/self/ns/user" of "user" leads to the host's own`: own(func(l *specs.Linux) { l.Namespaces[len(l.Namespaces)-1].Path = "/proc/self/ns/user" }),
	} {
		_, err := FromSpec(spec, "/rootfs", []string{"x"})
		wantRefusal(t, err, control.InvalidArgument, text)
	}
	adjacent := own(func(l *specs.Linux) {
		l.UIDMappings = []specs.LinuxIDMapping{{HostID: 100, Size: 10}, {ContainerID: 10, HostID: 90, Size: 10}}
	})
	if _, err := FromSpec(adjacent, "/rootfs", []string{"x"}); err != nil {
		t.Errorf("ranges that touch: %v", err)
	}
}

// Whose files are not mapped cannot be made root's by anybody; the sentence must
// say so, since containerd can remap them.
func TestRootFileSystemOfUnmappedIDs(t *testing.T) {
	_, err := (&sandboxTest{}).run(t, with(inUserNamespace))
	wantRefusal(t, err, control.InvalidArgument, "mounts[0]: mount proc on /proc: make the mount point: the directory belongs to ids that the container's user namespace does not map")
}

func TestHooksInAUserNamespace(t *testing.T) {
	rootfs := remapped(t)
	hook := script(`id -u > made && cat /proc/self/uid_map >> made`)
	s := &sandboxTest{rootfs: rootfs, options: []Option{WithHooks(testState(t))}, atHooks: func(pid int) error {
		_, err := os.Stat(filepath.Join("/proc", itoa(pid), "root/made"))
		if err == nil {
			t.Error("createContainer came before createRuntime")
		}
		return nil
	}}
	_, err := s.run(t, with(func(s *specs.Spec) {
		inUserNamespace(s)
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{hook}, CreateContainer: []specs.Hook{hook}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(content(t, rootfs+"/made")); strings.Join(got, " ") != "0 0 100000 65536" {
		t.Errorf("the hook saw %q", got)
	}
	if got := owner(t, rootfs+"/made"); got != [2]uint32{100000, 200000} {
		t.Errorf("what the hook made belongs to %v", got)
	}
}

// A shim that is killed while the init moves leaves nobody who waits for ever.
func TestAnInitThatMovesEndsWithItsCaller(t *testing.T) {
	rootfs := remapped(t)
	c, err := FromSpec(with(inUserNamespace), rootfs, []string{"wasm-runner", "nothing"})
	if err != nil {
		t.Fatal(err)
	}
	configR, configW := pipe(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	program, err := OpenProgram("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	cmd := c.Command("/proc/self/exe", [3]*os.File{nil, nil, os.Stderr}, []*os.File{configR, theirs, program})
	if err := startIn(c, cmd.Start); err != nil {
		t.Fatal(err)
	}
	configR.Close()
	theirs.Close()
	program.Close()
	if err := json.NewEncoder(configW).Encode(c); err != nil {
		t.Fatal(err)
	}
	configW.Close()
	pid, err := control.ReceivePid(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	if err := cmd.Wait(); err == nil {
		t.Error("the first init ends well")
	}
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if status.ExitStatus() != 1 {
		t.Errorf("the second init ends with %v", status)
	}
	_, _ = unix.Wait4(-cmd.Process.Pid, nil, 0, nil)
}
