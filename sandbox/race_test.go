package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// swap exchanges two files of a directory, over and over, until the test ends,
// as a container that shares the files of another's root would.
func swap(t *testing.T, dir, a, b string) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		defer unix.Close(fd)
		for {
			select {
			case <-stop:
				return
			default:
				if err := unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE); err != nil {
					t.Errorf("exchange %s and %s: %v", a, b, err)
					return
				}
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
}

// A directory of the image that is a link to the host every other moment: what
// is mounted, made, masked and entered is in the container, or nothing is.
func TestADirectoryThatIsSwappedForALink(t *testing.T) {
	for name, user := range map[string]bool{"host users": false, "user namespace": true} {
		t.Run(name, func(t *testing.T) {
			host := victim(t)
			rootfs := remapped(t)
			up := strings.Repeat("../", 20) + strings.TrimPrefix(host, "/")
			for name, target := range map[string]string{"abs": host, "rel": up} {
				if err := os.MkdirAll(filepath.Join(rootfs, name+"-dir/proc"), 0o755); err != nil {
					t.Fatal(err)
				}
				symlink(t, target, filepath.Join(rootfs, name+"-link"))
			}
			for _, path := range []string{"abs-dir", "abs-dir/proc", "rel-dir", "rel-dir/proc"} {
				if err := os.Lchown(filepath.Join(rootfs, path), 100000, 200000); err != nil {
					t.Fatal(err)
				}
			}
			swap(t, rootfs, "abs-dir", "abs-link")
			swap(t, rootfs, "rel-dir", "rel-link")
			source := filepath.Join(t.TempDir(), "source")
			write(t, source, "mounted")
			const attempts = 15
			made := 0
			for range attempts {
				_, err := (&sandboxTest{rootfs: rootfs, wish: wish{Read: []string{"/abs-dir/secret"}}}).run(t, with(func(s *specs.Spec) {
					if user {
						inUserNamespace(s)
					}
					s.Mounts = append(s.Mounts,
						specs.Mount{Destination: "/abs-dir/tmp", Type: "tmpfs", Source: "tmpfs"},
						specs.Mount{Destination: "/rel-dir/sub/file", Source: source, Options: []string{"bind"}},
						specs.Mount{Destination: "/rel-dir/proc", Type: "proc", Source: "proc"},
					)
					s.Linux.Devices = []specs.LinuxDevice{{Path: "/abs-dir/null", Type: "c", Major: 1, Minor: 3}}
					s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/abs-dir/secret", "/rel-dir")
					s.Process.Cwd = "/rel-link/work"
				}))
				if err == nil {
					made++
				} else if _, ok := errors.AsType[*control.Error](err); !ok {
					t.Errorf("neither made nor refused: %v", err)
				}
			}
			t.Logf("%d of %d were made", made, attempts)
		})
	}
}

// What the kernel shows a process of itself leads nowhere, also not to root in a
// user namespace who owns the process.
func TestMagicLinksInAUserNamespace(t *testing.T) {
	for _, cwd := range []string{"/proc/self/fd/8", "/proc/self/cwd", "/proc/1/root/etc", "/proc/thread-self/root"} {
		_, err := (&sandboxTest{rootfs: remapped(t)}).run(t, with(func(s *specs.Spec) {
			inUserNamespace(s)
			s.Process.Cwd = cwd
		}))
		wantRefusal(t, err, control.InvalidArgument, "process.cwd: make the directory "+cwd)
	}
	for _, at := range []string{"/proc/self/root/etc", "/proc/self/fd/8", "/proc/self/cwd/x"} {
		_, err := (&sandboxTest{rootfs: remapped(t)}).run(t, with(func(s *specs.Spec) {
			inUserNamespace(s)
			s.Mounts = append(s.Mounts, specs.Mount{Destination: at, Type: "tmpfs", Source: "tmpfs"})
		}))
		wantRefusal(t, err, control.InvalidArgument, at)
	}
}

// The host's root, mapped into the container, owns the host's files, but it has
// none of the host's capabilities, and the host's files are out of its reach.
func TestMappedHostRootIsNotEscalated(t *testing.T) {
	host := victim(t)
	rootfs := newRootfs(t)
	s := &sandboxTest{rootfs: rootfs, wish: wish{
		Read:  []string{host + "/secret", "/proc/1/root" + host + "/secret", "/proc/self/fd/8/etc/passwd", "/proc/1/cwd/etc/passwd"},
		Write: []string{"/proc/sys/kernel/msgmax"},
		Calls: []string{"mknod", "settimeofday"},
		List:  []string{"/"},
	}, holes: true}
	v, err := s.run(t, with(func(s *specs.Spec) {
		inUserNamespace(s)
		s.Linux.UIDMappings, s.Linux.GIDMappings = ids(0), ids(0)
		all := []string{"CAP_SYS_ADMIN", "CAP_SYS_TIME", "CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO"}
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Permitted: all, Effective: all}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if v.Status["CapEff"] == "0000000000000000" || v.Namespaces["user"] == links("/proc/self/ns")["user"] {
		t.Errorf("capabilities %s in %s", v.Status["CapEff"], v.Namespaces["user"])
	}
	wantTried(t, v, map[string]string{
		"read " + host + "/secret":             "ENOENT",
		"read /proc/1/root" + host + "/secret": "ENOENT",
		"read /proc/self/fd/8/etc/passwd":      "ENOENT",
		"read /proc/1/cwd/etc/passwd":          "ENOENT",
		"write /proc/sys/kernel/msgmax":        "EROFS",
		"call mknod":                           "EPERM",
		"call settimeofday":                    "EPERM",
		"list /":                               "ok dev proc run sys",
	})
	for _, m := range v.Mounts {
		if strings.Contains(m.Root, filepath.Dir(rootfs)) && m.At != "/" {
			t.Errorf("%s of the host is mounted on %s", m.Root, m.At)
		}
	}
}
