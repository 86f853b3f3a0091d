package oci

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// fuzzTree makes an image and a volume that are worth escaping from: beside
// them lies a module that must never be opened.
func fuzzTree(f *testing.F) (rootfs, vol string) {
	top := f.TempDir()
	rootfs, vol = filepath.Join(top, "rootfs"), filepath.Join(top, "vol")
	fill(f, top, image{
		"outside.wasm": core, "rootfs/app.wasm": core, "rootfs/a/b/": "", "rootfs/a/up": "->..", "rootfs/abs": "->/a",
		"rootfs/proc": "->/proc/self/root", "vol/m.wasm": core, "vol/up": "->../..",
	})
	return rootfs, vol
}

// confined fails the test when the target is open outside of both directories
// or when an error is not fit to be shown.
func confined(t *testing.T, got *Target, err error, dirs ...string) {
	t.Helper()
	if err != nil {
		e, ok := errors.AsType[*control.Error](err)
		if !ok {
			t.Fatalf("%v is not a *control.Error", err)
		}
		wantError(t, err, e.Class, "")
		return
	}
	if got.Kind == Native {
		return
	}
	defer got.Module.Close()
	p := realPath(t, got.Module)
	for _, d := range dirs {
		if strings.HasPrefix(p, d+"/") {
			return
		}
	}
	t.Errorf("opened %s", p)
}

// FuzzResolve varies the strings of a spec and the target of a link that the
// image calls /link.
func FuzzResolve(f *testing.F) {
	rootfs, vol := fuzzTree(f)
	f.Add("/app.wasm#f", "PATH=/bin:/a", "/", "/data", "app.wasm", "x")
	f.Add("link", "PATH=/", "/a/b", "/a/../link", "../../outside.wasm", "run.oci.handler")
	f.Add("/link/../outside.wasm", "PATH=:", "/../..", "/link", "/proc/self/root", "")
	f.Add("/data/up/outside.wasm", "A", "rel", "/data", "/data/up/../outside.wasm", "")
	f.Fuzz(func(t *testing.T, arg, env, cwd, dest, link, annotation string) {
		name := filepath.Join(rootfs, "link")
		os.Remove(name)
		if err := os.Symlink(link, name); err != nil {
			t.Skip() // the kernel does not store it
		}
		got, err := Resolve(&specs.Spec{
			Process:     &specs.Process{Args: []string{arg, link}, Env: []string{env}, Cwd: cwd},
			Mounts:      []specs.Mount{{Destination: dest, Type: "bind", Source: vol}, {Destination: dest + "/t", Type: "tmpfs"}},
			Annotations: map[string]string{annotation: "wasm"},
		}, rootfs)
		confined(t, got, err, rootfs, vol)
	})
}

// FuzzSpec varies the whole config.json. The sources of mounts are the only
// thing that it may not choose: it may well name any file of the host.
func FuzzSpec(f *testing.F) {
	rootfs, vol := fuzzTree(f)
	f.Add([]byte(`{"process":{"args":["/app.wasm"],"cwd":"/","env":["PATH=/"]},"annotations":{"run.oci.handler":"wasm"}}`))
	f.Add([]byte(`{"process":{"cwd":"/a"},"mounts":[{"destination":"/a","type":"bind","options":["rbind"]},{"destination":"/","type":"tmpfs"}]}`))
	f.Add([]byte(`{"process":{"args":["proc/outside.wasm#x#y"],"cwd":"/abs/up"},"mounts":[{"destination":"abs/up/m.wasm"}]}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		bundle := t.TempDir()
		if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
			t.Fatal(err)
		}
		spec, err := ReadSpec(bundle)
		if err != nil {
			if json.Unmarshal(config, &specs.Spec{}) == nil {
				t.Errorf("refused what is a spec: %v", err)
			}
			return
		}
		for i := range spec.Mounts {
			spec.Mounts[i].Source = vol
		}
		got, err := Resolve(spec, rootfs)
		confined(t, got, err, rootfs, vol)
	})
}

// FuzzAnnotations holds that an annotation never gives a guest more than the
// node's configuration does, and that it says in one sentence why it is refused.
func FuzzAnnotations(f *testing.F) {
	for _, a := range [][2]string{
		{"memory-limit", "64Mi"}, {"memory-limit", "18446744073709551615"}, {"memory-limit", "16777216Ti"}, {"memory-limit", "+1"}, {"memory-limit", "0x10"},
		{"max-files", "256"}, {"max-files", "-1"}, {"max-files", "99999999999999999999"}, {"drain", "1m30s"}, {"drain", "-1ns"}, {"drain", "2562047h47m16.854775807s"},
		{"preopens", "/data, /etc:ro,/tmp/:rw"}, {"preopens", "/data/../etc:rw"}, {"preopens", "/data:ro,/data/x:rw"}, {"preopens", "//data/.:rw"}, {"preopens", "/a\nb:ro"},
		{"listen", "0.0.0.0:8080, [::]:53"}, {"listen", "[fe80::1%a\n]:1"}, {"allow-outbound", "none"}, {"allow-outbound", ","}, {"memory-limits", ""}, {"", "x"},
		{"drain", "1h1h1h"}, {"listen", "[::%eth0]:1"}, {"preopens", "/:ro"}, {"dran", "1s"}, {strings.Repeat("x", 300), "\x00"},
	} {
		f.Add(a[0], a[1], true)
		f.Add(a[0], a[1], false)
	}
	f.Fuzz(func(t *testing.T, name, value string, configured bool) {
		var node Settings
		if configured {
			node = Settings{MemoryLimit: 32 << 20, MaxFiles: 64, Preopens: []Preopen{
				{Host: "/data", Guest: "/data", ReadOnly: true}, {Host: "/data/own", Guest: "/data/own"}, {Host: "/tmp", Guest: "/tmp"},
			}}
		}
		s := node
		err := s.Annotate(map[string]string{AnnotationPrefix + name: value, "other/" + name: value})
		if err != nil {
			wantError(t, err, control.InvalidArgument, "")
			return
		}
		if annotations[name] == nil {
			t.Errorf("%q is taken for an annotation", name)
		}
		if node.MemoryLimit != 0 && (s.MemoryLimit == 0 || s.MemoryLimit > node.MemoryLimit) || node.MaxFiles != 0 && (s.MaxFiles == 0 || s.MaxFiles > node.MaxFiles) {
			t.Errorf("%q raises a limit: %+v", value, s)
		}
		if s.MaxFiles < 0 || s.MaxFiles > MaxFiles || s.Drain < 0 || s.Drain > maxDrain || len(s.Listeners) > maxListeners || len(s.Preopens) > maxPreopens {
			t.Errorf("out of bounds: %+v", s)
		}
		w := Workload{Cwd: "/data/own/sub"}
		s.Apply(&w)
		for _, p := range w.Preopens {
			if !filepath.IsAbs(p.Host) || filepath.Clean(p.Host) != p.Host || strings.ContainsRune(p.Host, 0) {
				t.Errorf("%q opens %q", value, p.Host)
			}
			if around := containing(node.Preopens, p.Host); configured && (around == nil || around.ReadOnly && !p.ReadOnly) {
				t.Errorf("%q opens %v, and the node only %v", value, p, node.Preopens)
			}
		}
		for _, l := range s.Listeners {
			if at, err := netip.ParseAddrPort(l); err != nil || at.Port() == 0 {
				t.Errorf("%q listens at %q", value, l)
			}
		}
	})
}
