package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestMountsOfTheSpec(t *testing.T) {
	host := t.TempDir()
	write(t, filepath.Join(host, "dir/file"), "from the host")
	write(t, filepath.Join(host, "file"), "a file")
	for _, d := range []string{"dir/sub", "lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(host, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(host, "lower/low"), "low")
	needRoot(t)
	tmpfs(t, filepath.Join(host, "dir/sub"), unix.MS_NOSUID|unix.MS_NODEV)
	rootfs := newRootfs(t)
	if err := os.Mkdir(filepath.Join(rootfs, "sticky"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(rootfs, "sticky"), 0o750|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	bind := func(src, dst string, options ...string) specs.Mount {
		return specs.Mount{Source: filepath.Join(host, src), Destination: dst, Type: "bind", Options: options}
	}
	s := &sandboxTest{rootfs: rootfs, wish: wish{
		Read:  []string{"/ro/file", "/a/deep/file", "/overlay/low"},
		Write: []string{"/ro/x", "/ro/sub/x", "/rw/x", "/rro/sub/x", "/rotmp/x", "/rotmp/below/x", "/overlay/x"},
		List:  []string{"/norec/sub"},
	}}
	v, err := s.run(t, with(func(s *specs.Spec) {
		s.Mounts = append(s.Mounts,
			bind("dir", "/ro", "rbind", "ro"),
			bind("dir", "/rw", "rbind", "rw", "noexec", "noatime"),
			bind("dir", "/rro", "rbind", "rro"),
			bind("dir", "/norec", "bind"),
			bind("dir/sub", "/inherit", "bind", "ro"),
			bind("dir/sub", "/cleared", "bind", "suid", "dev"),
			bind("file", "/a/deep/file", "bind"),
			specs.Mount{Destination: "/rotmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"ro", "size=1m"}},
			specs.Mount{Destination: "/rotmp/below", Type: "tmpfs", Source: "tmpfs"},
			specs.Mount{Destination: "/sticky", Type: "tmpfs", Source: "tmpfs"},
			specs.Mount{Destination: "/overlay", Type: "overlay", Source: "overlay", Options: []string{
				"lowerdir=" + filepath.Join(host, "lower"), "upperdir=" + filepath.Join(host, "upper"), "workdir=" + filepath.Join(host, "work"),
			}},
		)
	}))
	if err != nil {
		t.Fatal(err)
	}
	for try, want := range map[string]string{
		"read /ro/file":        "ok from the host",
		"read /a/deep/file":    "ok a file",
		"read /overlay/low":    "ok low",
		"write /ro/x":          "EROFS",
		"write /ro/sub/x":      "ok ", // only rro is recursive
		"write /rw/x":          "ok ",
		"write /rro/sub/x":     "EROFS",
		"write /rotmp/x":       "EROFS",
		"write /rotmp/below/x": "ok ",
		"write /overlay/x":     "ok ",
		"list /norec/sub":      "ok ",
	} {
		if got := v.Tried[try]; got != want {
			t.Errorf("%s: %s, want %s", try, got, want)
		}
	}
	for at, want := range map[string]string{
		"/ro":      "ro,relatime",
		"/rw":      "rw,noexec,noatime",
		"/inherit": "ro,nosuid,nodev,relatime",
		"/cleared": "rw,relatime",
		"/rotmp":   "ro,relatime",
	} {
		if got := v.mount(at).Options; got != want {
			t.Errorf("%s is mounted %s, want %s", at, got, want)
		}
	}
	if got := v.mount("/sticky").Super; !strings.Contains(got, "mode=1750") {
		t.Errorf("a tmpfs over a directory of mode 1750 has %s", got)
	}
	if v.mount("/norec/sub").Type != "" {
		t.Error("bind is recursive")
	}
}

func TestReadonlyRoot(t *testing.T) {
	v := mustRun(t, with(func(s *specs.Spec) { s.Root.Readonly = true; s.Process.Cwd = "/made" }),
		wish{Write: []string{"/x", "/run/x", "/dev/shm/x"}})
	if v.Tried["write /x"] != "EROFS" || v.Tried["write /run/x"] != "ok " || v.Tried["write /dev/shm/x"] != "ok " {
		t.Errorf("got %v", v.Tried)
	}
	if v.Cwd != "/made" {
		t.Errorf("cwd is %s", v.Cwd)
	}
}

func TestDevicesOfTheSpec(t *testing.T) {
	mode, uid, gid := os.FileMode(0o640), uint32(7), uint32(8)
	v := mustRun(t, with(func(s *specs.Spec) {
		s.Linux.Devices = []specs.LinuxDevice{
			{Path: "/dev/null", Type: "c", Major: 1, Minor: 3, FileMode: &mode, UID: &uid, GID: &gid},
			{Path: "/dev/deep/loop", Type: "b", Major: 7, Minor: 1},
			{Path: "/dev/pipe", Type: "p"},
			{Path: "/dev/ptmx", Type: "c", Major: 5, Minor: 2},
		}
	}), wish{List: []string{"/dev/deep"}})
	for name, want := range map[string]string{"null": "020640 1:3 7:8", "pipe": "010666 0:0 0:0", "ptmx": "-> pts/ptmx"} {
		if v.Dev[name] != want {
			t.Errorf("/dev/%s is %s, want %s", name, v.Dev[name], want)
		}
	}
	if v.Tried["list /dev/deep"] != "ok loop" {
		t.Errorf("list /dev/deep: %s", v.Tried["list /dev/deep"])
	}
}

func TestBoundDevIsLeftAlone(t *testing.T) {
	needRoot(t)
	dev := t.TempDir()
	v, err := (&sandboxTest{}).run(t, with(func(s *specs.Spec) {
		s.Mounts = []specs.Mount{s.Mounts[0], {Destination: "/dev", Source: dev, Options: []string{"rbind"}}}
		s.Linux.MaskedPaths = nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dev); len(entries) != 0 || len(v.Dev) != 0 {
		t.Errorf("made %v, seen %v", entries, v.Dev)
	}
}

func TestRootPropagation(t *testing.T) {
	host := t.TempDir()
	needRoot(t)
	tmpfs(t, host, 0)
	if err := unix.Mount("", host, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	peers := func() string { // "shared:N"
		for line := range strings.Lines(hostMounts(t)) {
			if m := parseMountinfo(line); m.At == host {
				return m.Optional
			}
		}
		return ""
	}()
	for _, test := range []struct{ root, mount, want string }{
		{"", "", strings.Replace(peers, "shared", "master", 1)},
		{"", "rprivate", ""},
		{"rslave", "rslave", strings.Replace(peers, "shared", "master", 1)},
		{"rprivate", "", ""},
		{"rshared", "rshared", peers},
	} {
		v := mustRun(t, with(func(s *specs.Spec) {
			s.Linux.RootfsPropagation = test.root
			m := specs.Mount{Destination: "/data", Source: host, Options: []string{"rbind"}}
			if test.mount != "" {
				m.Options = append(m.Options, test.mount)
			}
			s.Mounts = append(s.Mounts, m)
		}), wish{})
		if got := v.mount("/data").Optional; got != test.want {
			t.Errorf("rootfsPropagation %q and %q: %q, want %q", test.root, test.mount, got, test.want)
		}
		if got := v.mount("/").Optional; (got != "") != (test.root == "rshared") {
			t.Errorf("rootfsPropagation %q: the root has %q", test.root, got)
		}
	}
	mustRun(t, with(func(s *specs.Spec) { s.Linux.RootfsPropagation = "unbindable" }), wish{})
}

// A rootfs that the host shares with all its peers, as systemd makes it, is the
// case in which a mount could escape.
func TestSharedRootfsStaysAsItWas(t *testing.T) {
	for _, propagation := range []string{"", "rshared"} {
		rootfs := newRootfs(t)
		tmpfs(t, rootfs, 0)
		if err := os.Mkdir(filepath.Join(rootfs, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		tmpfs(t, filepath.Join(rootfs, "sub"), 0)
		if err := unix.Mount("", rootfs, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
		s := &sandboxTest{rootfs: rootfs}
		// runConfig compares the mounts of the host.
		if _, err := s.run(t, with(func(s *specs.Spec) {
			s.Linux.RootfsPropagation = propagation
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/sub/below", Type: "tmpfs", Source: "tmpfs"})
		})); err != nil {
			t.Error(err)
		}
		if _, err := s.run(t, with(func(s *specs.Spec) {
			s.Linux.RootfsPropagation = propagation
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "no-such-fs", Source: "x"})
		})); err == nil {
			t.Error("a file system that does not exist was mounted")
		}
	}
}

// What containerd may not make, because it runs in a container itself, is bound.
func TestDeviceIsBoundWhereNoneCanBeMade(t *testing.T) {
	needRoot(t)
	dir := open(t, t.TempDir())
	defer dir.Close()
	null := defaultDevices()[0]
	if err := bindDevice(&null, int(dir.Fd()), "null"); err != nil {
		t.Fatal(err)
	}
	bound := open(t, filepath.Join(dir.Name(), "null"))
	defer bound.Close()
	if !isNull(int(bound.Fd())) {
		t.Error("what is bound is not /dev/null")
	}
	if err := unix.Unmount(bound.Name(), unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
	other := Device{Path: "/dev/null", Mode: unix.S_IFCHR | 0o666, Dev: unix.Mkdev(1, 5)}
	if err := bindDevice(&other, int(dir.Fd()), "other"); err == nil {
		t.Error("a device was bound that is another one on the host")
	}
}

// The way to change a mount before Linux 5.12.
func TestRemount(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	tmpfs(t, dir, unix.MS_NOSUID|unix.MS_NOATIME)
	f := open(t, dir)
	defer f.Close()
	if err := remount(int(f.Fd()), Attr{Set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(hostMounts(t)) {
		if m := parseMountinfo(line); m.At == dir && m.Options != "ro,nosuid,noatime" {
			t.Errorf("remounted as %s", m.Options)
		}
	}
}

// tmpfs mounts one for the test.
func tmpfs(t testing.TB, dir string, flags uintptr) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
