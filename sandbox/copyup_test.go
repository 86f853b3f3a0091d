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

// tmpfsOn is a spec with a tmpfs that starts with what the image has there.
func tmpfsOn(path string, options ...string) *specs.Spec {
	return with(func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: path, Type: "tmpfs", Source: "tmpfs", Options: append([]string{"tmpcopyup"}, options...)})
	})
}

func TestATmpfsStartsWithWhatTheImageHas(t *testing.T) {
	rootfs := newRootfs(t)
	data := filepath.Join(rootfs, "data")
	write(t, data+"/sub/file", strings.Repeat("content", 10000))
	write(t, data+"/tool", "x")
	if err := os.Chown(data+"/sub/file", 1000, 1001); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{data: 0o751, data + "/sub": 0o700 | os.ModeSticky, data + "/tool": 0o755 | os.ModeSetuid} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	symlink(t, "/etc/passwd", data+"/absolute")
	symlink(t, "sub/file", data+"/relative")
	if err := unix.Mkfifo(data+"/fifo", 0o640); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(data+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil && err != unix.EPERM {
		t.Fatal(err)
	}
	s := &sandboxTest{rootfs: rootfs, wish: wish{
		Read: []string{"/data/sub/file", "/data/relative"}, List: []string{"/data", "/data/sub"},
		Write: []string{"/data/new"}, Describe: []string{"/data", "/data/sub", "/data/sub/file", "/data/tool", "/data/absolute", "/data/fifo"},
	}}
	v, err := s.run(t, tmpfsOn("/data", "size=1m"))
	if err != nil {
		t.Fatal(err)
	}
	for try, want := range map[string]string{
		"read /data/sub/file":     "ok " + strings.Repeat("content", 10000),
		"read /data/relative":     "ok " + strings.Repeat("content", 10000),
		"list /data":              "ok absolute fifo relative sub tool",
		"write /data/new":         "ok ",
		"describe /data":          "040751 0:0 0:0",
		"describe /data/sub":      "041700 0:0 0:0",
		"describe /data/sub/file": "0100644 0:0 1000:1001",
		"describe /data/tool":     "0104755 0:0 0:0",
		"describe /data/absolute": "-> /etc/passwd",
		"describe /data/fifo":     "010640 0:0 0:0",
	} {
		if got := v.Tried[try]; got != want {
			t.Errorf("%s: %.60q, want %.60q", try, got, want)
		}
	}
	if m := v.mount("/data"); m.Type != "tmpfs" {
		t.Errorf("/data is a %s", m.Type)
	}
	if _, err := os.Stat(data + "/new"); err == nil {
		t.Error("the container wrote into the image")
	}
}

func TestACopiedTmpfsCanBeReadOnlyOrStartEmpty(t *testing.T) {
	rootfs := newRootfs(t)
	write(t, rootfs+"/data/file", "content")
	s := &sandboxTest{rootfs: rootfs, wish: wish{Read: []string{"/data/file"}, Write: []string{"/data/new"}}}
	v, err := s.run(t, tmpfsOn("/data", "ro"))
	if err != nil {
		t.Fatal(err)
	}
	if v.Tried["read /data/file"] != "ok content" || v.Tried["write /data/new"] != "EROFS" {
		t.Errorf("got %v", v.Tried)
	}
	s = &sandboxTest{rootfs: rootfs, wish: wish{List: []string{"/made"}}}
	if v, err = s.run(t, tmpfsOn("/made")); err != nil || v.Tried["list /made"] != "ok " {
		t.Errorf("a destination that the image does not have: %v, %v", v, err)
	}
}

// A volume that is mounted below the destination is not the image's.
func TestOtherMountsAreNotCopiedIntoATmpfs(t *testing.T) {
	volume := t.TempDir()
	write(t, volume+"/secret", "secret")
	rootfs := newRootfs(t)
	write(t, rootfs+"/data/file", "content")
	s := &sandboxTest{rootfs: rootfs, wish: wish{List: []string{"/data", "/data/volume"}}}
	spec := tmpfsOn("/data")
	spec.Mounts = append([]specs.Mount{{Destination: "/data/volume", Type: "bind", Source: volume, Options: []string{"bind"}}}, spec.Mounts...)
	v, err := s.run(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	if v.Tried["list /data"] != "ok file volume" || v.Tried["list /data/volume"] != "ok " {
		t.Errorf("got %v", v.Tried)
	}
}

func TestCopiesThatDoNotFitFailCreate(t *testing.T) {
	rootfs := newRootfs(t)
	write(t, rootfs+"/data/file", strings.Repeat("x", 1<<20))
	_, err := (&sandboxTest{rootfs: rootfs}).run(t, tmpfsOn("/data", "size=64k"))
	wantRefusal(t, err, control.Unavailable, "mount tmpfs on /data: copy what the image has there: file: no space left on device")

	deep := rootfs + "/deep" + strings.Repeat("/d", maxDepth+2)
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = (&sandboxTest{rootfs: rootfs}).run(t, tmpfsOn("/deep"))
	wantRefusal(t, err, control.InvalidArgument, "nested more than")
}
