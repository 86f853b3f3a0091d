package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/oci"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/wasmshim/containerd-shim-wasm/test/registry"
	"github.com/wasmshim/containerd-shim-wasm/test/shapes"
)

// pullForCtr pushes an image and pulls it with ctr.
func (h *host) pullForCtr(t *testing.T, r *registry.Registry, name string, manifests ...registry.Manifest) string {
	t.Helper()
	ref, err := r.Push(t.Context(), name+":1", false, manifests...)
	if err != nil {
		t.Fatal(err)
	}
	hosts := t.TempDir()
	if err := r.WriteHosts(hosts); err != nil {
		t.Fatal(err)
	}
	pull := h.Ctr(t.Context(), "images", "pull", "--user", registry.User+":"+registry.Password, "--hosts-dir", hosts, ref)
	if pull.Code != 0 {
		t.Fatalf("pull %s: %s", ref, pull.Stderr)
	}
	t.Cleanup(func() { h.Ctr(context.WithoutCancel(t.Context()), "images", "rm", "--sync", ref) })
	return ref
}

// onDaemonsWithLayers leaves out the daemon that refuses images with modules as
// layers, see the table.
func onDaemonsWithLayers(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	forVersions(t, slices.DeleteFunc(slices.Clone(theSuite.versions), func(v string) bool { return v == "1.6" }), func(t *testing.T, version string) {
		onSharedDaemon(t, version, test)
	})
}

// keptModules are the files of modules in the node's cache.
func (h *host) keptModules(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(h.CodeCache(), "*", "code", "module", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestModuleOfALayerIsReadOnce(t *testing.T) {
	onDaemonsWithLayers(t, func(t *testing.T, h *host) {
		layer := shapes.ModuleLayer(guests(t), shapes.WasmLayer, "probe-c", "app.wasm")
		// Bytes of its own: no other test has kept them.
		layer.Content = append(slices.Clone(layer.Content), "\x00\x06\x04once!"...)
		ref := h.pullForCtr(t, startRegistry(t), "once", registry.Manifest{Config: shapes.Config("wasip1/wasm"), Layers: []registry.Blob{layer}})
		before := h.keptModules(t)
		run := func() {
			t.Helper()
			want(t, h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, ref, h.NewID("once"), "app.wasm", "hello"), 0, "hello from probe-c\n", "")
		}
		run()
		kept := slices.DeleteFunc(h.keptModules(t), func(f string) bool { return slices.Contains(before, f) })
		if len(kept) != 1 {
			t.Fatalf("kept %q", kept)
		}
		first, err := os.Stat(kept[0])
		if err != nil {
			t.Fatal(err)
		}
		run()
		second, err := os.Stat(kept[0])
		if err != nil || !os.SameFile(first, second) || first.ModTime() != second.ModTime() {
			t.Errorf("the second start made the file anew: %v", err)
		}
		// One that somebody has changed is not used.
		if err := os.WriteFile(kept[0], []byte("changed"), 0); err != nil {
			t.Fatal(err)
		}
		run()
		if b, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(b, layer.Content) {
			t.Errorf("the changed file is still there: %d bytes, %v", len(b), err)
		}
	})
}

// A cache that cannot be used, or is too small, costs time and nothing else.
func TestModuleOfALayerRunsWithoutACache(t *testing.T) {
	onDaemonsWithLayers(t, func(t *testing.T, h *host) {
		ref := h.pullForCtr(t, startRegistry(t), "uncached", registry.Manifest{
			Config: shapes.Config("wasip1/wasm"), Layers: []registry.Blob{shapes.ModuleLayer(guests(t), shapes.WasmLayer, "probe-c", "app.wasm")},
		})
		dir := t.TempDir()
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		small := filepath.Join(dir, "small")
		for name, options := range map[string]string{
			"unusable":  fmt.Sprintf("CacheDir = %q\n", filepath.Join(file, "cache")),
			"too small": fmt.Sprintf("CacheDir = %q\nCacheSize = \"1\"\n", small),
		} {
			config := filepath.Join(dir, "options.toml")
			if err := os.WriteFile(config, []byte(options), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Log(name)
			got := h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, "--runtime-config-path", config, ref, h.NewID("uncached"), "app.wasm", "hello")
			want(t, got, 0, "hello from probe-c\n", "")
		}
		left, err := filepath.Glob(filepath.Join(small, "*", "code"))
		if err != nil || len(left) > 0 {
			t.Errorf("left in the cache that is too small: %v, %v", left, err)
		}
		if r := h.Ctr(t.Context(), "leases", "ls", "-q"); r.Code != 0 || r.Stdout != "" {
			t.Errorf("leases: %+v", r)
		}
	})
}

func TestRootFileSystemComesBeforeLayers(t *testing.T) {
	onDaemonsWithLayers(t, func(t *testing.T, h *host) {
		files := shapes.RootFS("app.wasm", string(guestBinary(t, "probe-c")), "native", "\x7fELF", "data", "text")
		ref := h.pullForCtr(t, startRegistry(t), "both", registry.Manifest{Config: shapes.Config(shapes.LinuxHere, files), Layers: []registry.Blob{
			files, shapes.ModuleLayer(guests(t), shapes.WasmLayer, "hello-c", "app.wasm"), shapes.ModuleLayer(guests(t), shapes.WasmLayer, "probe-c", "native"), shapes.ModuleLayer(guests(t), shapes.WasmLayer, "hello-c", "other.wasm"),
		}})
		run := func(flags []string, args ...string) (code int, stdout, stderr string) {
			t.Helper()
			r := h.Ctr(t.Context(), append(append(append([]string{"run", "--rm", "--runtime", wasm}, flags...), ref, h.NewID("both")), args...)...)
			return r.Code, r.Stdout, r.Stderr
		}
		if code, stdout, stderr := run(nil, "/app.wasm", "args"); code != 0 || stdout != "0=/app.wasm\n1=args\n" {
			t.Errorf("in both: %d, %q, %q", code, stdout, stderr)
		}
		if code, stdout, stderr := run(nil, "/other.wasm"); code != 0 || stdout != "Hello from C in WebAssembly!\n" {
			t.Errorf("in a layer alone: %d, %q, %q", code, stdout, stderr)
		}
		// The container's files are there for a guest from a layer.
		if code, stdout, stderr := run([]string{"--annotation", "run.oci.handler=wasm"}, "native", "read", "/data"); code != 0 || stdout != "text" {
			t.Errorf("marked as Wasm, native in the root file system: %d, %q, %q", code, stdout, stderr)
		}
		const says = `args[0] "/missing.wasm" is neither in the root file system nor one of the image's modules: "app.wasm", "native", "other.wasm"`
		if code, _, stderr := run(nil, "/missing.wasm"); code == 0 || !strings.Contains(stderr, says) {
			t.Errorf("in neither: %d, %q", code, stderr)
		}
		// What is neither a file nor the name of a module is runc's to refuse.
		if code, _, stderr := run(nil, "missing"); code == 0 || !strings.Contains(stderr, "executable file not found") {
			t.Errorf("a native program that is missing: %d, %q", code, stderr)
		}
		if code, _, stderr := run([]string{"--annotation", "run.oci.handler=wasm"}, "missing"); code == 0 || !strings.Contains(stderr, "nor one of the image's modules") {
			t.Errorf("marked as Wasm: %d, %q", code, stderr)
		}
	})
}

func TestExecOfAnotherModuleOfTheImage(t *testing.T) {
	onDaemonsWithLayers(t, func(t *testing.T, h *host) {
		ref := h.pullForCtr(t, startRegistry(t), "exec", registry.Manifest{Config: shapes.Config("wasip1/wasm"), Layers: []registry.Blob{
			shapes.ModuleLayer(guests(t), shapes.WasmLayer, "probe-c", "server.wasm"), shapes.ModuleLayer(guests(t), shapes.WasmLayer, "hello-c", "tool.wasm"),
		}})
		id := h.NewID("exec")
		if r := h.Ctr(t.Context(), "run", "--detach", "--runtime", wasm, ref, id, "server.wasm", "sleep", "60"); r.Code != 0 {
			t.Fatal(r.Stderr)
		}
		exec := func(name string, args ...string) (int, string, string) {
			r := h.Ctr(t.Context(), append([]string{"tasks", "exec", "--exec-id", name, id}, args...)...)
			return r.Code, r.Stdout, r.Stderr
		}
		if code, stdout, stderr := exec("tool", "tool.wasm", "x"); code != 0 || stdout != "Hello from C in WebAssembly!\nargument 1: x\n" {
			t.Errorf("another module: %d, %q, %q", code, stdout, stderr)
		}
		if code, _, stderr := exec("none", "none.wasm"); code == 0 || !strings.Contains(stderr, `"server.wasm", "tool.wasm"`) {
			t.Errorf("no module of that name: %d, %q", code, stderr)
		}
		if code, stdout, stderr := exec("ls", "ls", "/"); code != 0 || !strings.Contains(stdout, "proc") {
			t.Errorf("a built-in command: %d, %q, %q", code, stdout, stderr)
		}
		if r := h.Ctr(t.Context(), "tasks", "rm", "-f", id); r.Code != 0 && !strings.Contains(r.Stderr, "exit status") {
			t.Log(r.Stderr) // its exit code is the guest's
		}
		if r := h.Ctr(t.Context(), "containers", "rm", id); r.Code != 0 {
			t.Error(r.Stderr)
		}
	})
}

// That ctr reads no other configs than OCI's is a limit of ctr, not of containerd.
func TestClientWithASpecOfItsOwnRunsAnArtifact(t *testing.T) {
	onDaemonsWithLayers(t, func(t *testing.T, h *host) {
		ref := h.pullForCtr(t, startRegistry(t), "artifact", shapes.Artifact(guests(t), shapes.WasmLayer, "app.wasm"))
		c := &container{h: h, client: h.connect(t)}
		img, err := c.client.GetImage(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		id := h.NewID("artifact")
		c.Container, err = c.client.NewContainer(t.Context(), id,
			client.WithImage(img),
			client.WithNewSnapshot(id, img),
			client.WithNewSpec(oci.WithProcessArgs("/app.wasm", "args")),
			client.WithRuntime(wasm, nil))
		if err != nil {
			t.Fatal(err)
		}
		task, exit := c.start(t)
		if n := code(t, exit); n != 0 {
			t.Errorf("exit code %d", n)
		}
		c.remove(t, task)
		if got := c.stdout.String(); got != "0=/app.wasm\n1=args\n" {
			t.Errorf("output %q", got)
		}
	})
}

func TestImageThatIsGoneIsNamed(t *testing.T) {
	onDaemonsWithLayers(t, func(t *testing.T, h *host) {
		ref := h.pullForCtr(t, startRegistry(t), "gone", registry.Manifest{
			Config: shapes.Config("wasip1/wasm"), Layers: []registry.Blob{shapes.ModuleLayer(guests(t), shapes.WasmLayer, "probe-c", "app.wasm")},
		})
		id := h.NewID("gone")
		if r := h.Ctr(t.Context(), "containers", "create", "--runtime", wasm, ref, id, "app.wasm"); r.Code != 0 {
			t.Fatal(r.Stderr)
		}
		if r := h.Ctr(t.Context(), "images", "rm", "--sync", ref); r.Code != 0 {
			t.Fatal(r.Stderr)
		}
		if r := h.Ctr(t.Context(), "tasks", "start", id); r.Code == 0 || !strings.Contains(r.Stderr, "image "+ref+" of the container is not known to containerd any more; pull it again") {
			t.Errorf("%+v", r)
		}
		if r := h.Ctr(t.Context(), "containers", "rm", id); r.Code != 0 {
			t.Error(r.Stderr)
		}
	})
}

func TestPodOfAnArtifactHasToSetACommand(t *testing.T) {
	onPlainKubelet(t, []string{"2.4", "1.7"}, func(t *testing.T, k *kubelet) {
		r := startRegistry(t)
		if err := r.WriteHosts(k.h.Hosts()); err != nil {
			t.Fatal(err)
		}
		ref, err := r.Push(t.Context(), "artifact:1", false, shapes.Artifact(guests(t), shapes.WasmLayer, "app.wasm"))
		if err != nil {
			t.Fatal(err)
		}
		p := k.pod(t)
		if at, message, _ := p.runImage(t, ref, nil); at != "create" || !strings.Contains(message, "no command specified") {
			t.Errorf("without a command: at %q: %s", at, message)
		}
		if at, message, _ := p.runImage(t, ref, shapes.App[:1]); at != "" {
			t.Errorf("with a command: at %q: %s", at, message)
		}
	})
}

// Two images with one config are one image to CRI. What was asked for runs, or
// nothing.
func TestImagesWithEqualConfigsAreRefused(t *testing.T) {
	onPlainKubelet(t, theSuite.versions, func(t *testing.T, k *kubelet) {
		r := startRegistry(t)
		if err := r.WriteHosts(k.h.Hosts()); err != nil {
			t.Fatal(err)
		}
		p := k.pod(t)
		files := shapes.RootFS("data", "text")
		image := func(name, guest string, config registry.Blob) string {
			ref, err := r.Push(t.Context(), name+":1", false, registry.Manifest{
				Config: config, Layers: []registry.Blob{files, shapes.ModuleLayer(guests(t), shapes.WasmLayer, guest, "app.wasm")},
			})
			if err != nil {
				t.Fatal(err)
			}
			return ref
		}
		remove := func(ref string) {
			if _, err := k.images.RemoveImage(t.Context(), &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: ref}}); err != nil {
				t.Error(err)
			}
		}
		same := shapes.Config(shapes.LinuxHere, files)
		one, two := image("one", "hello-c", same), image("two", "probe-c", same)
		for _, ref := range []string{one, two} {
			if _, err := p.pull(t, ref); err != nil {
				t.Fatal(err)
			}
		}
		for _, ref := range []string{one, two} {
			at, message, stdout := p.runImage(t, ref, shapes.App)
			if at != "start" || !strings.Contains(message, one) || !strings.Contains(message, two) ||
				!strings.Contains(message, "CRI takes them for one image") || !strings.Contains(message, "give them different configs") {
				t.Errorf("%s: at %q: %s, output %q", ref, at, message, stdout)
			}
		}
		remove(one)
		remove(two)
		if at, message, stdout := p.runImage(t, two, shapes.App); at != "" || stdout != "0=/app.wasm\n1=args\n2=x\n" {
			t.Errorf("alone: at %q: %s, output %q", at, message, stdout)
		}
		remove(two)

		// With the module's digest in the config, both have their own.
		unique := func(guest string) registry.Blob {
			c := shapes.Config(shapes.LinuxHere, files)
			digest := fmt.Sprintf("sha256:%x", sha256.Sum256(guestBinary(t, guest)))
			c.Content = []byte(strings.Replace(string(c.Content), `"Entrypoint"`, `"Labels":{"module":"`+digest+`"},"Entrypoint"`, 1))
			return c
		}
		one, two = image("unique-one", "hello-c", unique("hello-c")), image("unique-two", "probe-c", unique("probe-c"))
		if _, err := p.pull(t, one); err != nil {
			t.Fatal(err)
		}
		if at, message, stdout := p.runImage(t, two, shapes.App); at != "" || stdout != "0=/app.wasm\n1=args\n2=x\n" {
			t.Errorf("different configs: at %q: %s, output %q", at, message, stdout)
		}
		if at, message, stdout := p.runImage(t, one, shapes.App[:1]); at != "" || stdout != "Hello from C in WebAssembly!\n" {
			t.Errorf("different configs: at %q: %s, output %q", at, message, stdout)
		}
		remove(one)
		remove(two)
	})
}
