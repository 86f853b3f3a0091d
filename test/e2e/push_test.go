package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/test/registry"
)

// wasmctl runs wasmctl logged in to the registry.
func wasmctl(t *testing.T, r *registry.Registry, args ...string) string {
	t.Helper()
	config, err := json.Marshal(map[string]any{"auths": map[string]any{
		r.Host: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(registry.User + ":" + registry.Password))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), runTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program("wasmctl"), args...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("wasmctl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// What is pushed is pulled by the real containerd from the real registry, with TLS
// and a password, and is what was packed, to the byte: digests tell.
func TestPushedImageIsPulledAndRuns(t *testing.T) {
	digest := regexp.MustCompile(`image  (sha256:[0-9a-f]{64})`)
	onEachDaemon(t, func(t *testing.T, h *host) {
		r := startRegistry(t)
		hosts := t.TempDir()
		if err := r.WriteHosts(hosts); err != nil {
			t.Fatal(err)
		}
		data := filepath.Join(t.TempDir(), "note")
		if err := os.WriteFile(data, []byte("a note\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			shape string
			flags []string
			// runs tells that ctr can run it: of an artifact it knows no command, and
			// 1.6 refuses layers that are modules.
			runs bool
		}{
			{"linux", []string{"--file", data + ":/data/note", "--attach", data + ":text/plain"}, true},
			{"hybrid", []string{"--file", data + ":/data/note"}, h.Version != "1.6"},
			{"artifact", nil, false},
		} {
			ref := r.Host + "/pushed/" + tt.shape + ":v1"
			out := wasmctl(t, r, append([]string{"pack", guestPath(t, "probe-c"), "-t", ref, "--push", "--shape", tt.shape, "--ca-file", r.CertificateFile()}, tt.flags...)...)
			packed := digest.FindStringSubmatch(out)
			if packed == nil || !strings.Contains(out, "pushed "+r.Host+"/pushed/"+tt.shape+"@"+packed[1]) {
				t.Fatalf("wasmctl pack prints\n%s", out)
			}
			checked := wasmctl(t, r, "check", "--ca-file", r.CertificateFile(), ref)
			if !strings.Contains(checked, "runs      yes") {
				t.Errorf("%s: wasmctl check prints\n%s", tt.shape, checked)
			}
			pull := h.Ctr(t.Context(), "images", "pull", "--user", registry.User+":"+registry.Password, "--hosts-dir", hosts, ref)
			if pull.Code != 0 {
				if tt.shape != "linux" && h.Version == "1.6" {
					continue
				}
				t.Fatalf("pull %s: %s", ref, pull.Stderr)
			}
			t.Cleanup(func() { h.Ctr(context.WithoutCancel(t.Context()), "images", "rm", "--sync", ref) })
			list := h.Ctr(t.Context(), "images", "ls", "name=="+ref)
			if !slices.Contains(strings.Fields(list.Stdout), packed[1]) {
				t.Errorf("containerd has\n%snot %s", list.Stdout, packed[1])
			}
			checked = wasmctl(t, r, "check", "--address", h.Address(), "--namespace", h.Namespace, ref)
			if !strings.Contains(checked, "runs      yes") || !strings.Contains(checked, "app.wasm") {
				t.Errorf("%s: of the node's image wasmctl check prints\n%s", tt.shape, checked)
			}
			if !tt.runs {
				continue
			}
			got := h.Ctr(t.Context(), "run", "--rm", "--runtime", wasm, ref, h.NewID("pushed"), "/app.wasm", "read", "/data/note")
			want(t, got, 0, "a note\n", "")
		}
	})
}
