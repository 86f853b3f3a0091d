package layers

import (
	"slices"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// preferred returns the manifests of an index that may be run here, best first.
func preferred(manifests []ocispec.Descriptor) []ocispec.Descriptor {
	here := platforms.Default()
	rank := func(m ocispec.Descriptor) int {
		switch p := m.Platform; {
		case p == nil || p.OS == "" && p.Architecture == "":
			return 3
		case p.Architecture == "wasm" && p.OS == "wasip1":
			return 0
		case p.Architecture == "wasm" && p.OS == "wasi":
			return 1
		case here.Match(*p):
			return 2
		}
		return -1
	}
	var fit []ocispec.Descriptor
	for _, m := range manifests {
		if rank(m) >= 0 {
			fit = append(fit, m)
		}
	}
	slices.SortStableFunc(fit, func(a, b ocispec.Descriptor) int {
		if ra, rb := rank(a), rank(b); ra != 2 || rb != 2 {
			return ra - rb
		}
		switch {
		case here.Less(*a.Platform, *b.Platform):
			return -1
		case here.Less(*b.Platform, *a.Platform):
			return 1
		}
		return 0
	})
	return fit
}
