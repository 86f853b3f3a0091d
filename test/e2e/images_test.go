package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

// image returns the reference of the image of a guest, which it makes and
// imports at first use: FROM scratch, with the guest at /NAME.wasm as the
// entrypoint. "native" is busybox, for containers of runc.
func (h *host) image(t *testing.T, guest string) string {
	t.Helper()
	ref := "localhost/" + guest + ":1"
	h.mu.Lock()
	done := h.imported[guest]
	h.mu.Unlock()
	if done {
		return ref
	}
	if guest == "native" {
		h.add(t, nativeImage(t, ref))
	} else {
		h.add(t, scratchimage.Image{
			Ref:        ref,
			Files:      map[string][]byte{"/" + guest + ".wasm": guestBinary(t, guest), "/tmp/": nil},
			Entrypoint: []string{"/" + guest + ".wasm"},
			Env:        []string{"PATH=/bin:/usr/bin"},
		})
	}
	h.mu.Lock()
	h.imported[guest] = true
	h.mu.Unlock()
	return ref
}

// add imports an image.
func (h *host) add(t *testing.T, img scratchimage.Image, flags ...string) {
	t.Helper()
	file, err := os.CreateTemp(filepath.Join(h.Dir, "work"), "image-*.tar")
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	defer os.Remove(file.Name())
	if err := img.Write(file.Name()); err != nil {
		t.Fatal(err)
	}
	if err := h.ImportImage(t.Context(), file.Name(), flags...); err != nil {
		t.Fatal(err)
	}
}

func nativeImage(t *testing.T, ref string) scratchimage.Image {
	t.Helper()
	path, err := theSuite.store.Busybox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return scratchimage.Image{
		Ref:        ref,
		Files:      map[string][]byte{"/bin/busybox": busybox, "/bin/sh": busybox, "/tmp/": nil},
		Entrypoint: []string{"/bin/busybox"},
		Env:        []string{"PATH=/bin"},
	}
}

// guestBinary returns a compiled guest.
func guestBinary(t *testing.T, name string) []byte {
	t.Helper()
	path := guestPath(t, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func guestPath(t *testing.T, name string) string {
	t.Helper()
	path, err := theSuite.store.Guest(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// program returns the path of one of the project's programs.
func program(name string) string { return filepath.Join(theSuite.bin, name) }
