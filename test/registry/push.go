package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Blob is one that a manifest refers to.
type Blob struct {
	MediaType   string
	Content     []byte
	Annotations map[string]string
}

// Manifest is one image, as it is: nothing of it is checked or added.
type Manifest struct {
	Config Blob
	Layers []Blob
	// Annotations are the manifest's own.
	Annotations map[string]string
	// Platform is that of its entry in an index, such as linux/amd64; empty is
	// none.
	Platform string
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
)

// Push makes the image NAME:TAG of one manifest, or an index of them, and returns
// its reference.
func (r *Registry) Push(ctx context.Context, nameAndTag string, index bool, manifests ...Manifest) (string, error) {
	ref, err := name.ParseReference(r.Host + "/" + nameAndTag)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}}
	defer transport.CloseIdleConnections()
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(transport),
		remote.WithAuth(&authn.Basic{Username: User, Password: Password}),
	}
	var entries []map[string]any
	for _, m := range manifests {
		layers := []any{}
		for _, b := range append([]Blob{m.Config}, m.Layers...) {
			layer := static.NewLayer(b.Content, types.MediaType(b.MediaType))
			if err := remote.WriteLayer(ref.Context(), layer, options...); err != nil {
				return "", fmt.Errorf("push a blob of %s: %w", ref, err)
			}
			layers = append(layers, b.descriptor())
		}
		document := document{mediaType: manifestType, fields: map[string]any{
			"schemaVersion": 2, "mediaType": manifestType, "config": layers[0], "layers": layers[1:],
		}}
		if m.Annotations != nil {
			document.fields["annotations"] = m.Annotations
		}
		to := ref
		if index {
			to = ref.Context().Digest(document.digest())
		}
		if err := remote.Put(to, document, options...); err != nil {
			return "", fmt.Errorf("push manifest of %s: %w", ref, err)
		}
		entry := map[string]any{"mediaType": manifestType, "digest": document.digest(), "size": len(document.bytes())}
		if os, arch, ok := strings.Cut(m.Platform, "/"); ok {
			entry["platform"] = map[string]string{"os": os, "architecture": arch}
		}
		entries = append(entries, entry)
	}
	if !index {
		return ref.String(), nil
	}
	err = remote.Put(ref, document{mediaType: indexType, fields: map[string]any{
		"schemaVersion": 2, "mediaType": indexType, "manifests": entries,
	}}, options...)
	return ref.String(), err
}

func (b Blob) descriptor() map[string]any {
	d := map[string]any{"mediaType": b.MediaType, "digest": digestOf(b.Content), "size": len(b.Content)}
	if b.Annotations != nil {
		d["annotations"] = b.Annotations
	}
	return d
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// document is a manifest or an index for remote.Put.
type document struct {
	mediaType types.MediaType
	fields    map[string]any
}

func (d document) bytes() []byte {
	b, err := json.Marshal(d.fields)
	if err != nil {
		panic(err) // maps of strings and numbers marshal
	}
	return bytes.TrimSpace(b)
}

func (d document) digest() string { return digestOf(d.bytes()) }

// RawManifest and MediaType are what remote.Put asks for.
func (d document) RawManifest() ([]byte, error) { return d.bytes(), nil }

// MediaType is the type of the document.
func (d document) MediaType() (types.MediaType, error) { return d.mediaType, nil }
