package layers

import (
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// FuzzRead reads bytes as an index or a manifest, with another document and a
// module that they can refer to, and then all that they lead to.
func FuzzRead(f *testing.F) {
	b := blobs{}
	leaf := b.manifest(wasmConfig, "application/wasm app.wasm", "application/vnd.oci.image.layer.v1.tar")
	top := b.index("wasip1/wasm", leaf, "", leaf, "linux/amd64", leaf)
	f.Add(b[leaf.Digest], b[top.Digest], "app.wasm#run")
	f.Add(b[top.Digest], b[leaf.Digest], "")
	f.Add([]byte(`{"manifests":[{"digest":"sha256:x","platform":{"os":"wasi","architecture":"wasm"}}]}`), []byte(`{"layers":[{"mediaType":"application/wasm","digest":"","size":-1}]}`), "a")
	f.Add([]byte(`{"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[{},{"platform":{}}]}`), []byte(`{"config":{"mediaType":"application/vnd.fermyon.spin.application.v1+config"}}`), "/")
	f.Fuzz(func(t *testing.T, first, second []byte, arg string) {
		store := blobs{}
		for d, c := range b {
			store[d] = c
		}
		store.put("", second)
		target := store.put("", first)
		expectSentence := func(err error) {
			if _, ok := errors.AsType[*control.Error](err); err != nil && !ok {
				t.Fatalf("%v is not a *control.Error", err)
			}
		}
		image, err := Read(t.Context(), store, target)
		expectSentence(err)
		if err != nil {
			return
		}
		_, err = image.ReadConfig(t.Context(), store)
		expectSentence(err)
		_, _, err = image.Choose()
		expectSentence(err)
		m, reading, err := image.Choose(arg, "x")
		expectSentence(err)
		if err == nil && reading != 0 && reading != 1 {
			t.Fatalf("reading %d", reading)
		}
		for _, d := range image.Digests() {
			_ = d.Encoded() // which panics on what is no digest
		}
		for _, m := range append(image.Modules, m) {
			_, err := m.SHA256()
			expectSentence(err)
			err = m.CopyTo(t.Context(), io.Discard, store)
			expectSentence(err)
			if err == nil && digest.FromBytes(store[m.Digest]) != m.Digest {
				t.Fatalf("copied %s, whose content has another digest", m.Digest)
			}
		}
	})
}
