package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// victim is a directory of the host that images try to reach.
func victim(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "of the host")
	t.Cleanup(func() {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("the host's directory now holds %v (%v)", entries, err)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, "secret")); string(b) != "of the host" {
			t.Errorf("the host's file now holds %q", b)
		}
	})
	return dir
}

func TestHostileImagesAreRefused(t *testing.T) {
	tmp := func(at string) specs.Mount { return specs.Mount{Destination: at, Type: "tmpfs", Source: "tmpfs"} }
	for name, test := range map[string]struct {
		image  func(rootfs string)
		change func(*specs.Spec)
		text   string
	}{
		"proc is a symlink to a directory of the host": {
			image: func(r string) { symlink(t, "/etc", r+"/proc") },
			text:  "mounts[0]: mount proc on /proc: proc must be mounted on a real directory",
		},
		"proc is below a symlink": {
			image:  func(r string) { symlink(t, "../../..", r+"/a") },
			change: func(s *specs.Spec) { s.Mounts[0].Destination = "/a/proc" },
			text:   "must be mounted on a real directory",
		},
		"proc is a file": {
			image: func(r string) { write(t, r+"/proc", "") },
			text:  "must be mounted on a real directory",
		},
		"sys is a symlink": {
			image: func(r string) { symlink(t, "/", r+"/sys") },
			text:  "sysfs must be mounted on a real directory",
		},
		"dev is a symlink upwards": {
			image: func(r string) { symlink(t, "../../..", r+"/dev") },
			text:  "mounts[1].destination: /dev is the container's root itself",
		},
		"a mount on the root": {
			change: func(s *specs.Spec) { s.Mounts = append(s.Mounts, tmp("/")) },
			text:   "/ is the container's root itself",
		},
		"a mount into proc": {
			change: func(s *specs.Spec) { s.Mounts = append(s.Mounts, tmp("/proc/sys")) },
			text:   "/proc/sys is inside /proc",
		},
		"a mount into proc by way of a symlink": {
			image:  func(r string) { symlink(t, "/proc", r+"/data") },
			change: func(s *specs.Spec) { s.Mounts = append(s.Mounts, tmp("/data/sys")) },
			text:   "/data/sys is inside /proc",
		},
		"a mount over proc": {
			change: func(s *specs.Spec) { s.Mounts = append(s.Mounts, tmp("/proc")) },
			text:   "only a proc file system can be mounted on /proc",
		},
		"a mount through a magic link": {
			image:  func(r string) { symlink(t, "/proc/self/root", r+"/data") },
			change: func(s *specs.Spec) { s.Mounts = append(s.Mounts, tmp("/data/etc")) },
			text:   "/data/etc",
		},
		"a working directory through a magic link": {
			change: func(s *specs.Spec) { s.Process.Cwd = "/proc/self/fd/8" },
			text:   "process.cwd: make the directory /proc/self/fd/8",
		},
		"a working directory through a symlink to a magic link": {
			image:  func(r string) { symlink(t, "/proc/self/fd/8", r+"/w") },
			change: func(s *specs.Spec) { s.Process.Cwd = "/w" },
			text:   "process.cwd: make the directory /w",
		},
		"a working directory in a loop": {
			image:  func(r string) { symlink(t, "loop", r+"/loop") },
			change: func(s *specs.Spec) { s.Process.Cwd = "/loop" },
			text:   "process.cwd: make the directory /loop",
		},
		"a working directory that is a file": {
			image:  func(r string) { write(t, r+"/w", "") },
			change: func(s *specs.Spec) { s.Process.Cwd = "/w" },
			text:   "process.cwd: make the directory /w: not a directory",
		},
		"a masked path that leads to the root": {
			image:  func(r string) { symlink(t, "..", r+"/mask") },
			change: func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"/mask"} },
			text:   "linux.maskedPaths: /mask: it is the container's root itself",
		},
		"a read-only path that leads to the root": {
			change: func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"/proc/.."} },
			text:   "linux.readonlyPaths: /proc/..: it is the container's root itself",
		},
		"a null device that is a file": {
			image:  func(r string) { write(t, r+"/dev/null", "") },
			change: func(s *specs.Spec) { s.Mounts = s.Mounts[:1] },
			text:   "the container's /dev/null is not the null device",
		},
		"a null device that is a symlink": {
			image: func(r string) { symlink(t, "/proc/version", r+"/dev/null") },
			change: func(s *specs.Spec) {
				s.Mounts, s.Linux.MaskedPaths = s.Mounts[:1], []string{"/proc/keys"}
			},
			text: "the container's /dev/null is not the null device",
		},
	} {
		t.Run(name, func(t *testing.T) {
			rootfs := newRootfs(t)
			if test.image != nil {
				test.image(rootfs)
			}
			spec := ctrSpec()
			if test.change != nil {
				test.change(spec)
			}
			_, err := (&sandboxTest{rootfs: rootfs}).run(t, spec)
			wantRefusal(t, err, control.InvalidArgument, test.text)
		})
	}
}

// What an image's symlinks say is true inside of the container only.
func TestSymlinksStayInside(t *testing.T) {
	host := victim(t)
	rootfs := newRootfs(t)
	up := strings.Repeat("../", 20) + strings.TrimPrefix(host, "/")
	symlink(t, host, rootfs+"/abs")
	symlink(t, up, rootfs+"/rel")
	symlink(t, "../run/not/there/resolv.conf", rootfs+"/etc/resolv.conf")
	symlink(t, "/run2", rootfs+"/var/run")
	symlink(t, host+"/secret", rootfs+"/etc/hosts")
	symlink(t, "dev2", rootfs+"/dev")
	symlink(t, host+"/node", rootfs+"/dev2/zero")
	symlink(t, host, rootfs+"/mask")
	symlink(t, "abs", rootfs+"/cwd")
	source := filepath.Join(t.TempDir(), "source")
	write(t, source, "mounted")
	bind := func(at string) specs.Mount {
		return specs.Mount{Destination: at, Source: source, Options: []string{"bind", "ro"}}
	}
	s := &sandboxTest{rootfs: rootfs, wish: wish{
		Read: []string{"/etc/resolv.conf", "/run/not/there/resolv.conf", "/etc/hosts", "/run2/secrets/token", "/abs/secret", host + "/file"},
		List: []string{"/abs", "/rel"},
	}}
	v, err := s.run(t, with(func(s *specs.Spec) {
		s.Mounts = append(s.Mounts[:1],
			specs.Mount{Destination: "/abs", Type: "tmpfs", Source: "tmpfs"},
			bind("/rel/file"),
			bind("/etc/resolv.conf"),
			bind("/etc/hosts"),
			bind("/var/run/secrets/token"),
			specs.Mount{Destination: "/run3/../run4", Type: "tmpfs", Source: "tmpfs"},
		)
		s.Linux.MaskedPaths = []string{"/mask/secret", "/mask"}
		s.Linux.ReadonlyPaths = []string{"/rel"}
		s.Process.Cwd = "/cwd"
	}))
	if err != nil {
		t.Fatal(err)
	}
	for try, want := range map[string]string{
		"read /etc/resolv.conf":           "ok mounted",
		"read /run/not/there/resolv.conf": "ok mounted",
		"read /run2/secrets/token":        "ok mounted",
		"list /abs":                       "ok ", // masked
		"list /rel":                       "ok ",
	} {
		if got := v.Tried[try]; got != want {
			t.Errorf("%s: %s, want %s", try, got, want)
		}
	}
	if v.Cwd != host {
		t.Errorf("cwd is %s, want %s in the container", v.Cwd, host)
	}
	if v.mount("/run4").Type != "tmpfs" {
		t.Error("/run3/../run4 is not mounted")
	}
}

func TestMissingSourcesAreNotFound(t *testing.T) {
	_, err := (&sandboxTest{}).run(t, with(func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Source: "/no/such/volume", Options: []string{"rbind"}})
	}))
	wantRefusal(t, err, control.NotFound, "mounts[7]: mount /no/such/volume on /data: no such file or directory")

	c, err := FromSpec(ctrSpec(), "/no/such/rootfs", []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&sandboxTest{rootfs: t.TempDir()}).runConfig(t, c)
	wantRefusal(t, err, control.NotFound, "root.path: ")
}

func TestInitWithoutConfigurationFails(t *testing.T) {
	needRoot(t)
	_, err := (&sandboxTest{}).runConfig(t, &Config{CloneFlags: unix.CLONE_NEWNS, Rootfs: "/no/such/rootfs"})
	if err == nil {
		t.Error("an empty configuration makes a sandbox")
	}
}

func TestProgramCannotBeWrittenByWayOfItsDescriptor(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "program")
	write(t, path, "program")
	link := path + "-link"
	symlink(t, path, link)
	for _, p := range []string{path, link} {
		f, err := OpenProgram(p)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if b, err := os.ReadFile(magic(int(f.Fd()))); err != nil || string(b) != "program" {
			t.Errorf("read %q: %v", b, err)
		}
		w, err := os.OpenFile(magic(int(f.Fd())), os.O_RDWR, 0)
		if got := outcome("", err); got != "EROFS" {
			t.Errorf("to write %s gives %s, want EROFS", p, got)
			w.Close()
		}
	}
	if _, err := OpenProgram(path + "-missing"); !os.IsNotExist(err) {
		t.Errorf("a missing program: %v", err)
	}
}

func FuzzTreeStaysInside(f *testing.F) {
	f.Add("/a/b", "a", "/x")
	f.Add("/a/../b", "a", "../../..")
	f.Add("/l/x", "l", "l2/../../../y")
	f.Add("../../a", "a", "//")
	f.Fuzz(func(t *testing.T, path, name, target string) {
		outside := t.TempDir()
		host := filepath.Join(outside, "root")
		if err := os.Mkdir(host, 0o755); err != nil {
			t.Fatal(err)
		}
		name = strings.ReplaceAll(name, "/", "")
		_ = os.Symlink(target, host+"/"+name)
		fd, err := unix.Open(host, unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		tr := tree{fd: fd, host: host}
		for _, open := range []func() (int, error){
			func() (int, error) { fd, _, err := tr.mkdirAll(path, 0o755); return fd, err },
			func() (int, error) { return tr.createFile(path + "/file") },
		} {
			got, err := open()
			if err != nil {
				continue
			}
			if _, err := tr.locate(got); err != nil {
				t.Error(err)
			}
			unix.Close(got)
		}
		if entries, _ := os.ReadDir(outside); len(entries) != 1 {
			t.Errorf("made %v outside", entries)
		}
	})
}
