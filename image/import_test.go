package image

import (
	"bytes"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
)

// TestContainerdImportsTheIndex runs containerd's own importer, as ctr image
// import does: the archive's one entry must be the index under the full name,
// and each platform must be found through it.
func TestContainerdImportsTheIndex(t *testing.T) {
	tar, res := write(t, Spec{Name: "ghcr.io/acme/app:v1", Module: writeModule(t, "")})
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	top, err := archive.ImportIndex(t.Context(), store, bytes.NewReader(tar))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := images.Children(t.Context(), store, top)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Annotations[images.AnnotationImageName] != "ghcr.io/acme/app:v1" ||
		!images.IsIndexType(entries[0].MediaType) || entries[0].Digest.String() != res.Digest().String() {
		t.Fatalf("imported %+v", entries)
	}
	for _, p := range []string{"linux/amd64", "linux/arm64/v8"} {
		ok, _, _, missing, err := images.Check(t.Context(), store, entries[0], platforms.Only(platforms.MustParse(p)))
		if !ok || err != nil || len(missing) > 0 {
			t.Errorf("%s: available %v, missing %v, %v", p, ok, missing, err)
		}
	}
}
