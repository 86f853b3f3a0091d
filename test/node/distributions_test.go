package node

import (
	"bytes"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/pelletier/go-toml/v2"
)

// What the distributions do to containerd's configuration before they start it, by
// their documentation and sources. The programs themselves are in no package
// registry.

// distributionBase is the file of a test's machine with the distribution's built-in
// configuration.
const distributionBase = "/etc/distribution-base.toml"

// renderTemplate is K3s and RKE2: the template of the newer format wins, and both
// can have the built-in one as "base".
func renderTemplate(m *machine) {
	text := `{{ template "base" . }}`
	for _, file := range m.layout.Templates {
		if t := m.read(file); t != "" {
			text = t
			break
		}
	}
	t := template.Must(template.New("config").Parse(text))
	template.Must(t.New("base").Parse(m.read(distributionBase)))
	var b bytes.Buffer
	m.must(t.Execute(&b, nil))
	m.write(m.layout.Config, b.String())
}

// mergeDropIns is k0s: files that configure the CRI plugin are merged into one that
// the main file imports.
func mergeDropIns(m *machine) {
	if !strings.HasPrefix(m.read(m.layout.Config), "# k0s_managed=true\n") {
		return
	}
	merged := map[string]any{}
	m.must(toml.Unmarshal([]byte(m.read(distributionBase)), &merged))
	files, err := filepath.Glob(m.path(m.layout.DropIns + "/*.toml"))
	m.must(err)
	for _, file := range files {
		patch := map[string]any{}
		rel, _ := filepath.Rel(m.root, file)
		m.must(toml.Unmarshal([]byte(m.read(rel)), &patch))
		mergePatch(merged, patch)
	}
	b, err := toml.Marshal(merged)
	m.must(err)
	m.write(m.layout.Merged, string(b))
}

func mergePatch(into, patch map[string]any) {
	for k, v := range patch {
		p, isTable := v.(map[string]any)
		t, wasTable := into[k].(map[string]any)
		if isTable && wasTable {
			mergePatch(t, p)
		} else {
			into[k] = v
		}
	}
}

// fillPlaceholders is MicroK8s.
func fillPlaceholders(m *machine) {
	text := m.read(m.layout.Templates[0])
	m.write(m.layout.Config, strings.NewReplacer("${SNAPSHOTTER}", "overlayfs", "${RUNTIME}", "runc",
		"${SNAP_DATA}", "/var/snap/microk8s/current").Replace(text))
}
