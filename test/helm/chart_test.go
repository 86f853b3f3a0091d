package helm

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

const chart = "../../charts/containerd-shim-wasm"

// values are the settings whose renderings are in testdata. UPDATE_GOLDEN=1 writes
// those anew.
var values = map[string]string{
	"default": ``,
	"full": `
image: {repository: registry.example/wasm/installer, tag: v1, pullPolicy: Always}
imagePullSecrets: [{name: registry}]
handler: wasi
runtimeClass: {create: true, name: webassembly, overhead: {memory: 20Mi}}
options: {MemoryLimit: 256Mi, MaxFiles: 1024, Landlock: false, Preopens: "/data,/etc:ro"}
node: {prefix: /home/kubernetes/bin/wasm, layout: k3s, config: /etc/x.toml, containerd: /usr/bin/c, socket: /run/c.sock, unit: c.service, restartCommand: "rc-service k3s restart"}
nodeSelector: {pool: wasm}
affinity: {nodeAffinity: {}}
tolerations: [{key: wasm, operator: Exists}]
maxUnavailable: 25%
podAnnotations: {a: b}
uninstall: {enabled: true, force: true, patience: 1m30s}
`,
	"least": `
runtimeClass: {create: false, name: wasm}
uninstall: {enabled: false}
imagePullSecrets: null
nodeSelector: null
tolerations: null
priorityClassName: ""
resources: null
seLinuxOptions: null
`,
}

func TestChartLints(t *testing.T) {
	for name, text := range values {
		v, err := chartutil.ReadValues([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		lint := action.NewLint()
		lint.Strict = true
		for _, m := range lint.Run([]string{chart}, v).Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// render returns what `helm template` does, and the notes.
func render(t *testing.T, text string) (manifest, notes string, _ error) {
	t.Helper()
	v, err := chartutil.ReadValues([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := loader.LoadDir(chart)
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(&action.Configuration{Log: t.Logf})
	install.ClientOnly, install.DryRun, install.Replace = true, true, true
	install.ReleaseName, install.Namespace = "wasm", "wasm-system"
	install.KubeVersion = &chartutil.KubeVersion{Version: "v1.36.0", Major: "1", Minor: "36"}
	r, err := install.Run(c, v)
	if err != nil {
		return "", "", err
	}
	var b strings.Builder
	b.WriteString(r.Manifest)
	for _, h := range r.Hooks {
		b.WriteString("---\n# Source: " + h.Path + "\n" + h.Manifest + "\n")
	}
	return b.String(), r.Info.Notes, nil
}

func TestChartRenders(t *testing.T) {
	for name, text := range values {
		t.Run(name, func(t *testing.T) {
			manifest, notes, err := render(t, text)
			if err != nil {
				t.Fatal(err)
			}
			got := manifest + "---\n" + notes
			file := filepath.Join("testdata", name+".yaml")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("it renders to\n%s", got)
			}
			checkTypes(t, manifest)
		})
	}
}

// kinds are Kubernetes' types of all that the chart may make.
var kinds = map[string]any{
	"node.k8s.io/v1 RuntimeClass": nodev1.RuntimeClass{},
	"v1 ServiceAccount":           corev1.ServiceAccount{},
	"v1 Pod":                      corev1.Pod{},
	"rbac.authorization.k8s.io/v1 ClusterRole":        rbacv1.ClusterRole{},
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding": rbacv1.ClusterRoleBinding{},
	"apps/v1 DaemonSet":                               appsv1.DaemonSet{},
	"batch/v1 Job":                                    batchv1.Job{},
}

// checkTypes fails for a field that the API does not have.
func checkTypes(t *testing.T, manifest string) {
	t.Helper()
	n := 0
	for _, doc := range strings.Split(manifest, "\n---\n") {
		var id struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal([]byte(doc), &id); err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if id.Kind == "" {
			continue
		}
		typ, ok := kinds[id.APIVersion+" "+id.Kind]
		if !ok {
			t.Errorf("%s %s is none of the kinds that the chart may make", id.APIVersion, id.Kind)
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(doc), reflect.New(reflect.TypeOf(typ)).Interface()); err != nil {
			t.Errorf("%v\n%s", err, doc)
		}
		n++
	}
	if n < 5 {
		t.Errorf("only %d objects", n)
	}
}

// `--set image.tag=20261128` is no string, and in a stored release not even an integer.
func TestTagMayLookLikeANumber(t *testing.T) {
	manifest, _, err := render(t, `image: {tag: 20261128}`)
	if err != nil || !strings.Contains(manifest, "localhost/wasm-node-installer:20261128\n") {
		t.Errorf("%v\n%s", err, manifest)
	}
}

func TestChartRefusesWrongValues(t *testing.T) {
	for text, says := range map[string]string{
		`handlr: x`:                        "handlr",
		`handler: "No Name"`:               "handler",
		`options: {MemoryLimits: 1Gi}`:     "MemoryLimits",
		`options: {Landlock: [1]}`:         "Landlock",
		`node: {prefix: relative}`:         "prefix",
		`node: {layout: k9s}`:              "layout",
		`maxUnavailable: 0`:                "maxUnavailable",
		`maxUnavailable: 0%`:               "maxUnavailable",
		`image: {repository: ""}`:          "repository",
		`uninstall: {patience: soon}`:      "patience",
		`runtimeClass: {overheads: {}}`:    "overheads",
		`nodeSelector: {a: 1}`:             "nodeSelector",
		`image: {pullPolicy: Occasionaly}`: "pullPolicy",
	} {
		if _, _, err := render(t, text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The options that the schema knows are those of the documentation.
func TestSchemaKnowsTheOptions(t *testing.T) {
	docs, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(docs) {
		cells := strings.Split(string(line), "|")
		if len(cells) != 5 || strings.Contains(cells[1], "annotation") || strings.Contains(cells[1], "/") {
			continue
		}
		for _, cell := range strings.Split(cells[1], ",") {
			key := strings.Trim(cell, " `")
			if !strings.HasPrefix(strings.TrimSpace(cell), "`") {
				continue
			}
			if !bytes.Contains(schema, []byte(`"`+key+`"`)) {
				t.Errorf("values.schema.json does not know option %s", key)
			}
		}
	}
}
