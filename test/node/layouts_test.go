package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmshim/containerd-shim-wasm/deploy/node"
)

// layoutTests are machines in testdata: the directory "before" of each is laid over
// an empty one, "after" is what the installer makes of those files that are in it.
// UPDATE_GOLDEN=1 writes "after" anew.
var layoutTests = []struct {
	name, layout string
	versions     []string
}{
	{"plain", "plain", []string{"1.7", "2.2", "2.4"}},
	{"plain-without-runc", "plain", []string{"1.7"}},
	{"plain-without-a-file-1", "plain", []string{"1.7"}},
	{"plain-without-a-file-2", "plain", []string{"2.2", "2.4"}},
	{"plain-with-imports", "plain", []string{"2.2", "2.4"}},
	{"plain-with-relative-imports", "plain", []string{"2.4"}},
	{"plain-with-imports-that-replace", "plain", []string{"1.7"}},
	{"plain-in-format-1", "plain", []string{"1.7"}},
	{"plain-in-format-4", "plain", []string{"2.4"}},
	{"plain-with-inline-tables", "plain", []string{"2.4"}},
	{"plain-behind-a-link", "plain", []string{"2.4"}},
	{"kind", "plain", []string{"2.2", "2.4"}},
	{"k3s", "k3s", []string{"2.2"}},
	{"k3s-of-containerd-1", "k3s", []string{"1.7"}},
	{"k3s-with-a-template", "k3s", []string{"2.2"}},
	{"k3s-with-drop-ins", "k3s", []string{"2.2"}},
	{"rke2", "rke2", []string{"2.2"}},
	{"k0s", "k0s", []string{"2.2"}},
	{"k0s-of-containerd-1", "k0s", []string{"1.7"}},
	{"microk8s", "microk8s", []string{"1.7"}},
}

func TestLayouts(t *testing.T) {
	for _, test := range layoutTests {
		for _, version := range test.versions {
			t.Run(test.name+"/"+version, func(t *testing.T) {
				dir := filepath.Join("testdata", test.name)
				m := newMachine(t, test.layout, version, filepath.Join(dir, "before"))
				if test.name == "plain-behind-a-link" {
					m.must(os.Rename(m.path("/etc/containerd/config.toml"), m.path("/etc/containerd/real.toml")))
					m.must(os.Symlink("/etc/containerd/real.toml", m.path("/etc/containerd/config.toml")))
				}
				m.must(m.start(t.Context()))
				before := m.files()
				c := m.config()
				c.Layout = "" // it finds it

				r, err := node.Install(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if !r.Changed || !r.Restarted || m.restarts != 1 {
					t.Errorf("%+v with %d restarts", r, m.restarts)
				}
				installed := m.files()
				compareGolden(t, filepath.Join(dir, "after"), before, installed)

				again, err := node.Install(t.Context(), c)
				if err != nil || again.Changed || again.Path != r.Path || m.restarts != 1 {
					t.Errorf("the second time: %+v, %v, with %d restarts", again, err, m.restarts)
				}
				if d := differ(installed, m.files()); d != "" {
					t.Errorf("the second time changes:\n%s", d)
				}
				if _, err := node.Verify(t.Context(), c); err != nil {
					t.Error(err)
				}

				c.Options = map[string]any{"MemoryLimit": "256Mi"}
				if _, err := node.Verify(t.Context(), c); err == nil {
					t.Error("other options are taken for installed")
				}
				if r, err := node.Install(t.Context(), c); err != nil || !r.Changed || m.restarts != 2 {
					t.Errorf("with other options: %+v, %v, with %d restarts", r, err, m.restarts)
				}
				if _, err := node.Verify(t.Context(), c); err != nil {
					t.Error(err)
				}

				if r, err := node.Uninstall(t.Context(), c, false); err != nil || !r.Changed {
					t.Errorf("uninstall: %+v, %v", r, err)
				}
				if d := differ(before, m.files()); d != "" {
					t.Errorf("uninstalling leaves:\n%s", d)
				}
				if r, err := node.Uninstall(t.Context(), c, false); err != nil || r.Changed {
					t.Errorf("uninstall again: %+v, %v", r, err)
				}
			})
		}
	}
}

// compareGolden compares what is new or changed with the directory. Programs count by
// their names.
func compareGolden(t *testing.T, dir string, before, after map[string]string) {
	t.Helper()
	got := map[string]string{}
	for name, what := range after {
		mode, text, isFile := strings.Cut(what, " ")
		if before[name] == what || mode[0] == 'd' || strings.HasPrefix(name, "opt/containerd-shim-wasm/") {
			continue
		}
		if !isFile {
			text = mode
		}
		got[name] = text
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		for name, text := range got {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	want := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		want[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := differ(want, got); d != "" {
		t.Errorf("against %s:\n%s", dir, d)
	}
}
