package e2e

import (
	"path/filepath"
	"testing"
)

func TestImageOfWasmctlPackRuns(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		const ref = "localhost/packed:1"
		tar := filepath.Join(t.TempDir(), "packed.tar")
		has(t, h.runWasmctl(t, "pack", guestPath(t, "hello-c"), "-t", ref, "-o", tar), 0)
		if err := h.ImportImage(t.Context(), tar); err != nil {
			t.Fatal(err)
		}
		// The image's entrypoint is set, so that no command is needed.
		got := h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, ref, h.NewID("packed"))
		want(t, got, 0, "Hello from C in WebAssembly!\n", "")
		got = h.Ctr(t.Context(), "run", "--rm", "--runtime", h.Shim(), ref, h.NewID("packed"))
		want(t, got, 0, "Hello from C in WebAssembly!\n", "")
	})
}
