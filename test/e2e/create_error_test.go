package e2e

import (
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// componentHeader is how a WASI 0.2 component begins: the magic of a module, but
// version 13 of layer 1.
var componentHeader = []byte("\x00asm\x0d\x00\x01\x00")

// Everything that can be wrong with an image is told by Create: one sentence
// that names the thing, says what is the matter and what to do.
func TestCreateSaysWhatIsWrongAndLeavesNothing(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		for _, tt := range []struct {
			name  string
			files map[string][]byte
			flags []string
			args  []string
			says  []string
		}{
			{
				name: "no such file", args: []string{"/missing.wasm"},
				says: []string{"/missing.wasm does not exist in the container's file system"},
			},
			{
				name: "not Wasm", args: []string{"/app.wasm"},
				files: map[string][]byte{"/app.wasm": []byte("just text\n")},
				flags: []string{"--annotation", "run.oci.handler=wasm"},
				says:  []string{"/app.wasm is a text file, not a WebAssembly module"},
			},
			{
				name: "a component", args: []string{"/app.wasm"},
				files: map[string][]byte{"/app.wasm": componentHeader},
				says:  []string{"/app.wasm is a WebAssembly component", "wasm32-wasip1"},
			},
			{
				name: "64-bit memory", args: []string{"/app.wasm"},
				files: map[string][]byte{"/app.wasm": guestBinary(t, "memory64")},
				says:  []string{"/app.wasm uses 64-bit memory (memory64)", "wasm32"},
			},
			{
				name: "several memories", args: []string{"/app.wasm"},
				files: map[string][]byte{"/app.wasm": guestBinary(t, "multi-memory")},
				says:  []string{"/app.wasm uses more than one memory (multi-memory)"},
			},
			{
				name: "an import nobody provides", args: []string{"/app.wasm"},
				files: map[string][]byte{"/app.wasm": guestBinary(t, "missing-import")},
				says:  []string{"/app.wasm imports wasi_snapshot_preview1.sock_foo, which this runtime does not provide"},
			},
			{
				name: "a missing export", args: []string{"/app.wasm#nothing"},
				files: map[string][]byte{"/app.wasm": guestBinary(t, "probe-c")},
				says:  []string{"/app.wasm exports no function nothing", "_start, greet"},
			},
			{
				name: "no entry point", args: []string{"/app.wasm"},
				files: map[string][]byte{"/app.wasm": guestBinary(t, "no-start")},
				says:  []string{"/app.wasm has no function _start", "module.wasm#function"},
			},
			{
				name: "two candidates", args: []string{"/app.wasm#greet"},
				files: map[string][]byte{"/app.wasm": guestBinary(t, "probe-c"), "/app.wasm#greet": guestBinary(t, "minimal")},
				says:  []string{"/app.wasm#greet has two candidates", "rename one of the files"},
			},
			{
				name: "cut off", args: []string{"/app.wasm"},
				files: map[string][]byte{"/app.wasm": guestBinary(t, "hello-c")[:5000]},
				says:  []string{"/app.wasm is not a valid WebAssembly module", "truncated"},
			},
		} {
			if tt.files == nil {
				tt.files = map[string][]byte{"/app.wasm": guestBinary(t, "minimal")}
			}
			ref := "localhost/" + strings.ReplaceAll(strings.ToLower(tt.name), " ", "-") + ":1"
			h.add(t, scratchimage.Image{Ref: ref, Files: tt.files, Entrypoint: []string{"/app.wasm"}})
			args := append([]string{"run", "--rm", "--runtime", wasm}, tt.flags...)
			args = append(append(args, ref, h.NewID("wrong")), tt.args...)
			before := h.census(t)
			got := h.Ctr(t.Context(), args...)
			if got.Code == 0 {
				t.Errorf("%s: it ran: %+v", tt.name, got)
			}
			for _, fragment := range tt.says {
				if !strings.Contains(got.Stderr, fragment) {
					t.Errorf("%s: the error lacks %q: %s", tt.name, fragment, got.Stderr)
				}
			}
			if lines := strings.Count(strings.TrimSpace(got.Stderr), "\n"); lines > 0 {
				t.Errorf("%s: the error has %d lines: %s", tt.name, lines+1, got.Stderr)
			}
			if left := h.leftSince(t, before); len(left) > 0 {
				t.Errorf("%s: left behind:\n%s", tt.name, strings.Join(left, "\n"))
				h.removeAll(t)
			}
		}
	})
}
