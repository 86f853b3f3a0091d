package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func TestReadSpec(t *testing.T) {
	for _, tt := range []struct {
		name, json string
		class      control.Class
		want       string
	}{
		{name: "a spec", json: `{"ociVersion":"1.2.0","process":{"args":["/app.wasm"],"cwd":"/"},"unknown":{"kept":"out"}}`},
		{name: "not JSON", json: `{`, class: control.InvalidArgument, want: "is not an OCI spec"},
		{name: "another type", json: `{"process":{"args":"/app.wasm"}}`, class: control.InvalidArgument, want: "is not an OCI spec"},
		{name: "something behind it", json: `{} {}`, class: control.InvalidArgument, want: "is not an OCI spec"},
		{name: "too large", json: `{"hostname":"` + strings.Repeat("x", maxSpec) + `"}`, class: control.InvalidArgument, want: "larger than 16 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bundle := t.TempDir()
			if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(tt.json), 0o600); err != nil {
				t.Fatal(err)
			}
			spec, err := ReadSpec(bundle)
			if tt.class != "" {
				wantError(t, err, tt.class, tt.want)
				return
			}
			if err != nil || spec.Process.Args[0] != "/app.wasm" {
				t.Errorf("got %+v, %v", spec, err)
			}
		})
	}
	_, err := ReadSpec(t.TempDir())
	wantError(t, err, control.NotFound, "config.json: no such file")
}

func TestGroupID(t *testing.T) {
	for _, tt := range []struct {
		annotations map[string]string
		want        string
	}{
		{nil, "c1"},
		{map[string]string{"io.kubernetes.cri.sandbox-id": "pod"}, "pod"},
		{map[string]string{"io.containerd.runc.v2.group": "g", "io.kubernetes.cri.sandbox-id": "pod"}, "g"},
		{map[string]string{"io.containerd.runc.v2.group": ""}, "c1"},
	} {
		if got := GroupID(tt.annotations, "c1"); got != tt.want {
			t.Errorf("GroupID(%v) = %q, want %q", tt.annotations, got, tt.want)
		}
	}
}
