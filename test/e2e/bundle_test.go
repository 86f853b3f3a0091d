package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// A root file system in a directory, with no image at all.
func TestPlainRootFileSystemRuns(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		root := filepath.Join(h.Dir, "work", "rootfs")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(root)
		if err := os.WriteFile(filepath.Join(root, "app.wasm"), guestBinary(t, "hello-c"), 0o644); err != nil {
			t.Fatal(err)
		}
		got := h.Ctr(t.Context(), "run", "--rm", "--rootfs", "--runtime", wasm, root, h.NewID("bundle"), "/app.wasm", "bare")
		want(t, got, 0, "Hello from C in WebAssembly!\nargument 1: bare\n", "")
	})
}

// containerd may name a runtime by the path of its binary as well.
func TestRuntimeByPathRuns(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		got := h.run(t, ctrRun{image: "probe-c", runtime: h.Shim(), args: []string{"/probe-c.wasm", "hello"}})
		want(t, got, 0, "hello from probe-c\n", "")
	})
}
