package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// TestResolveThroughMounts states what is found where the spec mounts
// something. Sources are below the directory vol; want is the file of vol or
// rootfs that is open, "native", or a part of a refusal.
func TestResolveThroughMounts(t *testing.T) {
	bind := func(source, dest string) specs.Mount {
		return specs.Mount{Destination: dest, Type: "bind", Source: source, Options: []string{"rbind", "ro"}}
	}
	tmpfs := func(dest string) specs.Mount { return specs.Mount{Destination: dest, Type: "tmpfs", Source: "tmpfs"} }

	rootfs, vol := t.TempDir(), t.TempDir()
	fill(t, rootfs, image{
		"data/app.wasm": core, "app.wasm": core, "var/run": "->/run", "run/": "", "to-volume": "->/data/app.wasm",
		"secret.wasm": core, "etc/": "", "mnt": "->data", "sub/": "",
	})
	fill(t, vol, image{
		"v/app.wasm": core, "v/up.wasm": "->../../secret.wasm", "v/abs.wasm": "->/app.wasm", "v/host.wasm": "->" + vol + "/other.wasm",
		"v/deep/x.wasm": core, "file.wasm": core, "other.wasm": core, "native": "x:" + elf, "w/app.wasm": core,
	})
	v, w := filepath.Join(vol, "v"), filepath.Join(vol, "w")

	for _, tt := range []struct {
		name   string
		mounts []specs.Mount
		arg    string
		ann    map[string]string
		want   string
		class  control.Class
	}{
		{name: "a volume hides the image", mounts: []specs.Mount{bind(v, "/data")}, arg: "/data/app.wasm", want: v + "/app.wasm"},
		{name: "what a volume hides is gone", mounts: []specs.Mount{bind(vol, "/data")}, arg: "/data/app.wasm", class: control.NotFound, want: "/data/app.wasm does not exist"},
		{name: "a destination that is not clean", mounts: []specs.Mount{bind(v, "//sub/../data/.")}, arg: "/data/app.wasm", want: v + "/app.wasm"},
		{name: "a destination through a link", mounts: []specs.Mount{bind(v, "/mnt")}, arg: "/data/app.wasm", want: v + "/app.wasm"},
		{name: "a path through a link to a volume", mounts: []specs.Mount{bind(v, "/data")}, arg: "/mnt/app.wasm", want: v + "/app.wasm"},
		{name: "a file that links into a volume", mounts: []specs.Mount{bind(v, "/data")}, arg: "/to-volume", want: v + "/app.wasm"},
		{name: "a destination that the image lacks", mounts: []specs.Mount{bind(v, "/a/b/c")}, arg: "/a/b/c/app.wasm", want: v + "/app.wasm"},
		{name: "beside a destination that the image lacks", mounts: []specs.Mount{bind(v, "/a/b/c")}, arg: "/a/b/app.wasm", class: control.NotFound, want: "does not exist"},
		{name: "a mounted file", mounts: []specs.Mount{bind(vol+"/file.wasm", "/etc/app.wasm")}, arg: "/etc/app.wasm", want: vol + "/file.wasm"},
		{name: "a mounted native program", mounts: []specs.Mount{bind(vol+"/native", "/app.wasm")}, arg: "/app.wasm", want: "native"},
		{name: "the longest destination", mounts: []specs.Mount{bind(v, "/data"), bind(w, "/data/deep")}, arg: "/data/deep/app.wasm", want: w + "/app.wasm"},
		{name: "the last of two mounts", mounts: []specs.Mount{bind(v, "/data"), bind(w, "/data")}, arg: "/data/app.wasm", want: w + "/app.wasm"},
		{name: "a later mount hides an earlier one below it", mounts: []specs.Mount{bind(w, "/data/deep"), bind(v, "/data")}, arg: "/data/deep/x.wasm", want: v + "/deep/x.wasm"},
		{name: "the prefix of a name is not a directory", mounts: []specs.Mount{bind(v, "/app")}, arg: "/app.wasm", want: rootfs + "/app.wasm"},
		{name: "bind by an option", mounts: []specs.Mount{{Destination: "/data", Type: "none", Source: v, Options: []string{"bind"}}}, arg: "/data/app.wasm", want: v + "/app.wasm"},
		{name: "a mount on the root", mounts: []specs.Mount{bind(v, "/")}, arg: "/app.wasm", want: v + "/app.wasm"},

		{name: "a link in a volume stays in the container", mounts: []specs.Mount{bind(v, "/data")}, arg: "/data/abs.wasm", want: rootfs + "/app.wasm"},
		{name: "dot dot in a volume leads to where it is mounted", mounts: []specs.Mount{bind(v, "/data")}, arg: "/data/up.wasm", want: rootfs + "/secret.wasm"},
		{name: "a link in a volume does not reach the host", mounts: []specs.Mount{bind(v, "/data")}, arg: "/data/host.wasm", class: control.NotFound, want: "does not exist"},
		{name: "a mounted procfs of the host does not lead to the host", mounts: []specs.Mount{bind("/proc", "/proc")}, arg: "/proc/self/root" + vol + "/other.wasm", class: control.NotFound, want: "does not exist"},
		{name: "nor does its cwd", mounts: []specs.Mount{bind("/proc", "/proc")}, arg: "/proc/self/cwd/tree_test.go.wasm", class: control.NotFound, want: "does not exist"},

		{name: "a tmpfs without a marker is runc's", mounts: []specs.Mount{tmpfs("/data")}, arg: "/data/app", want: "native"},
		{name: "a marked file on a tmpfs", mounts: []specs.Mount{tmpfs("/data")}, arg: "/data/app", ann: map[string]string{"run.oci.handler": "wasm"}, class: control.InvalidArgument,
			want: "/data/app cannot be used as a module: it lies on the tmpfs mount at /data, whose content is not known before the container runs; put the module into the image or into a volume"},
		{name: "a .wasm on a tmpfs", mounts: []specs.Mount{tmpfs("/data")}, arg: "/data/app.wasm", class: control.InvalidArgument, want: "the tmpfs mount at /data"},
		{name: "a volume on a tmpfs", mounts: []specs.Mount{tmpfs("/run"), bind(v, "/run/v")}, arg: "/run/v/app.wasm", want: v + "/app.wasm"},
		{name: "a volume on a tmpfs through a link", mounts: []specs.Mount{tmpfs("/var/run"), bind(v, "/run/a/v")}, arg: "/var/run/a/v/app.wasm", want: v + "/app.wasm"},
		{name: "beside a volume on a tmpfs", mounts: []specs.Mount{tmpfs("/run"), bind(v, "/run/a/v")}, arg: "/run/a/app.wasm", class: control.InvalidArgument, want: "the tmpfs mount at /run"},
		{name: "a volume that is not there", mounts: []specs.Mount{bind(vol+"/gone", "/data")}, arg: "/data/app.wasm", class: control.InvalidArgument, want: "the bind mount at /data"},
		{name: "a volume of a relative path", mounts: []specs.Mount{bind("v", "/data")}, arg: "/data/app.wasm", class: control.InvalidArgument, want: "the bind mount of a relative path at /data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Resolve(&specs.Spec{
				Process: &specs.Process{Args: []string{tt.arg}, Cwd: "/"}, Mounts: tt.mounts, Annotations: tt.ann,
			}, rootfs)
			if tt.class != "" {
				wantError(t, err, tt.class, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "native" {
				if s := describe(t, got); s != "native" {
					t.Errorf("got %q, want native", s)
				}
				return
			}
			if got.Module == nil {
				t.Fatal("native, want " + tt.want)
			}
			defer got.Module.Close()
			if p := realPath(t, got.Module); p != tt.want {
				t.Errorf("opened %s, want %s", p, tt.want)
			}
		})
	}
}

func TestAMountedFileIsAModuleOfTheRoot(t *testing.T) {
	rootfs, vol := t.TempDir(), t.TempDir()
	fill(t, vol, image{"x": core})
	got, err := Resolve(&specs.Spec{
		Process: &specs.Process{Cwd: "/"},
		Mounts:  []specs.Mount{{Destination: "/x.wasm", Type: "bind", Source: vol + "/x"}},
	}, rootfs)
	if err != nil {
		t.Fatal(err)
	}
	if s := describe(t, got); s != "/x.wasm  /x.wasm" {
		t.Errorf("got %q", s)
	}
}

func TestTooManyMountsAreRefused(t *testing.T) {
	mounts := make([]specs.Mount, maxMounts+1)
	_, err := Resolve(&specs.Spec{Process: &specs.Process{}, Mounts: mounts}, t.TempDir())
	wantError(t, err, control.InvalidArgument, "the spec has 4097 mounts")
}

// realPath is where the kernel says that an open file is.
func realPath(t testing.TB, f *os.File) string {
	t.Helper()
	p, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}
