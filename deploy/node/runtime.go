package node

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// runtimeType is the shim's name for containerd.
const runtimeType = "io.containerd.wasm.v1"

// annotations are those of Pods that containerd passes on to the shim.
var annotations = []any{runtimeType + "/*", "run.oci.handler"}

// runtimeTable is what the handler's table says. Native containers are to be
// made as runc's are, so options that both shims know come from runc's table; those
// that the installer was given win.
func runtimeTable(runtimes tree, shim string, options tree) tree {
	o := tree{}
	runc := lookup(runtimes, "runc", "options")
	for _, key := range []string{"SystemdCgroup", "BinaryName", "Root", "NoPivotRoot", "NoNewKeyring"} {
		if v, ok := runc[key]; ok && !isZero(v) {
			o[key] = v
		}
	}
	maps.Copy(o, options)
	t := tree{
		"runtime_type":    runtimeType,
		"runtime_path":    shim,
		"pod_annotations": annotations,
	}
	if len(o) > 0 {
		t["options"] = o
	}
	return t
}

// says is whether a runtime's table of a whole configuration says what want does.
func says(got, want tree) bool {
	for key, w := range want {
		if !reflect.DeepEqual(got[key], w) {
			return false
		}
	}
	_, wants := want["options"]
	return wants || isEmpty(got["options"]) || got["options"] == nil
}

// writeRuntime writes a runtime's table, header and all, so that it can stand at
// the end of any file of that version.
func writeRuntime(version int64, handler string, t tree) (string, error) {
	var b strings.Builder
	if err := writeTable(&b, []string{"plugins", criPlugins[version], "containerd", "runtimes", handler}, t); err != nil {
		return "", fmt.Errorf("write the table of runtime %s: %w", handler, err)
	}
	return b.String(), nil
}

func writeTable(b *strings.Builder, path []string, t tree) error {
	quoted := make([]string, len(path))
	for i, key := range path {
		quoted[i] = key
		if strings.ContainsAny(key, ".") {
			quoted[i] = strconv.Quote(key)
		}
	}
	fmt.Fprintf(b, "[%s]\n", strings.Join(quoted, "."))
	var tables []string
	for _, key := range sortedKeys(t) {
		if _, is := t[key].(tree); is {
			tables = append(tables, key)
			continue
		}
		line, err := toml.Marshal(tree{key: t[key]})
		if err != nil {
			return err
		}
		b.WriteString("  ")
		b.Write(line)
	}
	for _, key := range tables {
		if err := writeTable(b, append(slices.Clone(path), key), t[key].(tree)); err != nil {
			return err
		}
	}
	return nil
}

// lost returns the runtimes that the second configuration lacks of the first, with
// what is not empty in them: naming one runtime makes containerd 1.x forget the
// built-in runc.
func lost(before, after tree) tree {
	missing := tree{}
	for name, t := range runtimesOf(before) {
		if _, there := runtimesOf(after)[name]; !there {
			missing[name] = withoutZeros(t)
		}
	}
	return missing
}

func withoutZeros(v any) any {
	t, ok := v.(tree)
	if !ok {
		return v
	}
	c := tree{}
	for k, v := range t {
		if v = withoutZeros(v); !isZero(v) {
			c[k] = v
		}
	}
	return c
}

// ParseOption reads KEY=VALUE for Config.Options: a number and true or false are
// what they look like, anything else is text.
func ParseOption(s string) (key string, value any, _ error) {
	key, text, ok := strings.Cut(s, "=")
	if !ok || key == "" {
		return "", nil, fmt.Errorf("option %q is not of the form KEY=VALUE; docs/configuration.md lists the keys", s)
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return key, n, nil
	}
	if b, err := strconv.ParseBool(text); err == nil {
		return key, b, nil
	}
	return key, text, nil
}
