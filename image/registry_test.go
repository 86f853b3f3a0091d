package image

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// testRegistry is a registry on loopback with TLS and basic authentication.
type testRegistry struct {
	// host is its address, and Registry how to talk to it.
	host string
	Registry
	// sent counts the bytes that it got.
	sent atomic.Int64
	// before is called with each request that is let in.
	before func(*http.Request)
}

func newTestRegistry(t *testing.T) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, _ := req.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.before != nil {
			r.before(req)
		}
		r.sent.Add(max(req.ContentLength, 0))
		handler.ServeHTTP(w, req)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "https://")
	r.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(r.CAFile, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	login(t, r.host, "me:secret")
	return r
}

// login is docker login.
func login(t *testing.T, host, credentials string) {
	t.Helper()
	dir := t.TempDir()
	config, err := json.Marshal(map[string]any{"auths": map[string]any{
		host: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(credentials))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
}

// get returns a manifest as clients get it, with every blob that it names.
func (r *testRegistry) get(t *testing.T, img *Image) (*remote.Descriptor, map[v1.Hash][]byte) {
	t.Helper()
	opts, err := r.options(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ref := must(r.reference(img.Name.String()))
	top := must(remote.Get(ref, opts...))
	contents := map[v1.Hash][]byte{top.Digest: top.Manifest}
	manifests := []*remote.Descriptor{top}
	if top.MediaType.IsIndex() {
		manifests = nil
		for _, d := range must(must(top.ImageIndex()).IndexManifest()).Manifests {
			m := must(remote.Get(ref.Context().Digest(d.Digest.String()), opts...))
			contents[m.Digest] = m.Manifest
			manifests = append(manifests, m)
		}
	}
	for _, m := range manifests {
		manifest := must(v1.ParseManifest(bytes.NewReader(m.Manifest)))
		for _, d := range append(manifest.Layers, manifest.Config) {
			l := must(remote.Layer(ref.Context().Digest(d.Digest.String()), opts...))
			contents[d.Digest] = must(io.ReadAll(must(l.Compressed())))
		}
	}
	return top, contents
}

func TestPushedIsWhatAnArchiveHolds(t *testing.T) {
	r := newTestRegistry(t)
	for _, shape := range Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			img := pack(t, Spec{Name: r.host + "/acme/app:" + string(shape), Shape: shape, Module: writeModule(t, string(shape))})
			var last [2]int64
			if err := img.Push(t.Context(), r.Registry, func(complete, total int64) { last = [2]int64{complete, total} }); err != nil {
				t.Fatal(err)
			}
			if last[0] != last[1] || last[0] == 0 {
				t.Errorf("the progress ends at %d of %d", last[0], last[1])
			}
			top, contents := r.get(t, img)
			if top.Digest != img.Digest() {
				t.Errorf("the registry has %s, packed is %s", top.Digest, img.Digest())
			}
			for _, b := range img.blobs() {
				want := must(io.ReadAll(b.reader()))
				if !bytes.Equal(contents[b.Digest], want) {
					t.Errorf("%s %s differs", b.MediaType, b.Digest)
				}
				delete(contents, b.Digest)
			}
			if len(contents) > 0 {
				t.Errorf("the registry has more: %v", contents)
			}
			before := r.sent.Load()
			if err := img.Push(t.Context(), r.Registry, nil); err != nil {
				t.Fatal(err)
			}
			var manifests int64
			for _, b := range append(img.manifests, img.top) {
				manifests += b.Descriptor.Size
			}
			if n := r.sent.Load() - before; n > manifests {
				t.Errorf("%d bytes are sent again; the manifests have %d", n, manifests)
			}
		})
	}
}

// The registry has no API for referrers, as many have not: a tag lists them.
func TestAttachmentsAreReferrers(t *testing.T) {
	r := newTestRegistry(t)
	sbom := filepath.Join(t.TempDir(), "sbom.json")
	if err := os.WriteFile(sbom, []byte(`{"spdxVersion":"SPDX-2.3"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, shape := range Shapes() {
		img := pack(t, Spec{
			Name: r.host + "/acme/app:" + string(shape), Shape: shape, Module: writeModule(t, ""),
			Attachments: []Attachment{{sbom, "application/spdx+json"}},
		})
		if err := img.Push(t.Context(), r.Registry, nil); err != nil {
			t.Fatal(err)
		}
		opts := must(r.options(t.Context()))
		repository := must(r.reference(img.Name.String())).Context()
		list := must(must(remote.Referrers(repository.Digest(img.Digest().String()), opts...)).IndexManifest())
		if len(list.Manifests) != 1 || list.Manifests[0].Digest != img.Referrers()[0] || list.Manifests[0].ArtifactType != "application/spdx+json" {
			t.Fatalf("%s: the referrers are %+v", shape, list.Manifests)
		}
		m := must(must(remote.Get(repository.Digest(img.Referrers()[0].String()), opts...)).Image())
		layer := must(m.Manifest()).Layers[0]
		if layer.Annotations[titleAnnotation] != "sbom.json" {
			t.Errorf("the layer is %+v", layer)
		}
		got := must(io.ReadAll(must(must(m.LayerByDigest(layer.Digest)).Compressed())))
		if string(got) != `{"spdxVersion":"SPDX-2.3"}` {
			t.Errorf("the attachment is %q", got)
		}
	}
}

func TestPushFailsInASentence(t *testing.T) {
	r := newTestRegistry(t)
	img := pack(t, Spec{Name: r.host + "/app:v1", Module: writeModule(t, "")})
	check := func(what string, registry Registry, want string) {
		t.Helper()
		err := img.Push(t.Context(), registry, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), img.Name.String()) {
			t.Errorf("%s: got %v, want an error with %q", what, err, want)
		}
	}
	check("a certificate of nobody", Registry{}, "--ca-file")
	login(t, r.host, "me:wrong")
	check("a wrong password", r.Registry, "log in with docker login "+r.host)
	login(t, r.host, "me:secret")
	if err := img.Push(t.Context(), Registry{CAFile: img.spec.Module}, nil); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("a module as certificate: %v", err)
	}
	if err := img.Push(t.Context(), Registry{Insecure: true}, nil); err != nil {
		t.Errorf("any certificate: %v", err)
	}
}

func TestPushIsInterrupted(t *testing.T) {
	r := newTestRegistry(t)
	img := pack(t, Spec{Name: r.host + "/app:v1", Module: writeModule(t, strings.Repeat("x", 1<<20))})
	ctx, cancel := context.WithCancel(t.Context())
	r.before = func(req *http.Request) {
		if req.Method == http.MethodPatch || req.Method == http.MethodPut {
			cancel()
		}
	}
	if err := img.Push(ctx, r.Registry, nil); err == nil || err.Error() != "interrupted" {
		t.Errorf("got %v", err)
	}
}

// A password must not travel in the clear because an address looks private.
func TestNoRegistryIsAskedWithoutTLSUnbidden(t *testing.T) {
	var asked []string
	record := roundTripper(func(req *http.Request) (*http.Response, error) {
		asked = append(asked, req.URL.String())
		return nil, io.EOF
	})
	for _, url := range []string{
		"http://10.0.0.1/v2/", "http://registry.internal/v2/", "https://10.0.0.1/v2/", "http://localhost:5000/v2/", "http://127.0.0.1:5000/v2/", "http://[::1]/v2/",
	} {
		for _, plain := range []bool{false, true} {
			req := must(http.NewRequest(http.MethodGet, url, nil))
			if _, err := (tlsOnly{record, plain}).RoundTrip(req); err == io.EOF {
				continue
			} else if !strings.Contains(err.Error(), "--plain-http") {
				t.Errorf("%s: %v", url, err)
			}
		}
	}
	want := "http://10.0.0.1/v2/ http://registry.internal/v2/ https://10.0.0.1/v2/ https://10.0.0.1/v2/ http://localhost:5000/v2/ http://localhost:5000/v2/ " +
		"http://127.0.0.1:5000/v2/ http://127.0.0.1:5000/v2/ http://[::1]/v2/ http://[::1]/v2/"
	if got := strings.Join(asked, " "); got != want {
		t.Errorf("asked are %s", got)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
