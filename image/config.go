package image

import (
	"encoding/json"
	"maps"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// newConfig makes the config of one platform. Those of two platforms differ only
// by the platform.
func newConfig(s Spec, p v1.Platform, l *layerSet) (*blob, error) {
	labels := map[string]string{DigestLabel: l.module.String()}
	maps.Copy(labels, s.Labels)
	return marshal(types.OCIConfigJSON, v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
		Created: v1.Time{Time: s.Epoch},
		// A module's layer is no part of the root file system.
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: l.diffIDs},
		History: []v1.History{{Created: v1.Time{Time: s.Epoch}, CreatedBy: "wasmctl pack"}},
		Config: v1.Config{
			Entrypoint: []string{ModulePath},
			Cmd:        s.Args,
			Env:        s.Env,
			WorkingDir: s.Workdir,
			Labels:     labels,
		},
	})
}

// newArtifactConfig makes the config of a Wasm artifact (CNCF TAG Runtime, "Wasm
// OCI Artifact Layout"). The digests in it make it unique to the module.
func newArtifactConfig(s Spec, l *layerSet) (*blob, error) {
	return marshal(wasmConfig, struct {
		Created      v1.Time  `json:"created"`
		Architecture string   `json:"architecture"`
		OS           string   `json:"os"`
		LayerDigests []string `json:"layerDigests"`
	}{v1.Time{Time: s.Epoch}, "wasm", "wasip1", []string{l.module.String()}})
}

// newManifest makes a manifest.
func newManifest(config *blob, blobs []*blob, annotations map[string]string) v1.Manifest {
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config.Descriptor, Annotations: annotations}
	for _, b := range blobs {
		m.Layers = append(m.Layers, b.Descriptor)
	}
	return m
}

// newIndex makes an index of the manifests.
func newIndex(s Spec, manifests []*blob) (*blob, error) {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Annotations: s.Annotations}
	for i, m := range manifests {
		d := m.Descriptor
		d.Platform = &s.Platforms[i]
		index.Manifests = append(index.Manifests, d)
	}
	return marshal(types.OCIImageIndex, index)
}

func marshal(mediaType types.MediaType, v any) (*blob, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return newBlob(b, mediaType), nil
}
