package e2e

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// cached maps the files of compiled code to when they were written.
func (h *host) cached(t *testing.T) map[string]time.Time {
	t.Helper()
	files := map[string]time.Time{}
	err := filepath.WalkDir(h.CodeCache(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			files[path] = info.ModTime()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSecondStartDoesNotCompile(t *testing.T) {
	onOwnDaemon(t, func(t *testing.T, h *host) {
		want(t, h.probe(t, "hello"), 0, "hello from probe-c\n", "")
		first := h.cached(t)
		if len(first) == 0 {
			t.Fatalf("nothing is cached in %s", h.CodeCache())
		}
		want(t, h.probe(t, "hello"), 0, "hello from probe-c\n", "")
		// The same module in another image is the same code.
		const ref = "localhost/copy:1"
		h.add(t, scratchimage.Image{Ref: ref, Entrypoint: []string{"/copy.wasm"},
			Files: map[string][]byte{"/copy.wasm": guestBinary(t, "probe-c")}})
		got := h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, ref, h.NewID("copy"))
		want(t, got, 0, "hello from probe-c\n", "")
		if second := h.cached(t); !maps.Equal(first, second) {
			t.Errorf("the cache changed: %v, then %v", first, second)
		}
		info, err := os.Stat(h.CodeCache())
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the cache's directory: %v, %v; want mode 0700", info.Mode(), err)
		}
	})
}

func TestDamagedCacheEntryIsReplaced(t *testing.T) {
	onOwnDaemon(t, func(t *testing.T, h *host) {
		want(t, h.probe(t, "hello"), 0, "hello from probe-c\n", "")
		for _, damage := range []func(path string) error{
			func(path string) error { return os.Truncate(path, 100) },
			func(path string) error {
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				if err != nil {
					return err
				}
				defer f.Close()
				_, err = f.WriteAt(make([]byte, 4096), 4096)
				return err
			},
		} {
			for path := range h.cached(t) {
				if err := os.Chmod(path, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := damage(path); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				want(t, h.probe(t, "hello"), 0, "hello from probe-c\n", "")
			}
		}
	})
}
