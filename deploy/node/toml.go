package node

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// tree is a configuration of containerd, as TOML has it.
type tree = map[string]any

func parseTOML(path, text string) (tree, error) {
	t := tree{}
	if err := toml.Unmarshal([]byte(text), &t); err != nil {
		return nil, fmt.Errorf("%s is not valid TOML: %w; mend it, or restore it from its backup", path, err)
	}
	return t, nil
}

func marshalTOML(t tree) (string, error) {
	var b bytes.Buffer
	enc := toml.NewEncoder(&b)
	enc.SetIndentTables(true)
	err := enc.Encode(t)
	return b.String(), err
}

// lookup returns the table at the path or nil.
func lookup(t tree, path ...string) tree {
	for _, key := range path {
		t, _ = t[key].(tree)
	}
	return t
}

// criPlugins are the names of the plugin whose table has the runtimes, by the
// version of the file: 4 has no change in it.
var criPlugins = map[int64]string{
	1: "cri",
	2: "io.containerd.grpc.v1.cri",
	3: "io.containerd.cri.v1.runtime",
	4: "io.containerd.cri.v1.runtime",
}

// schema is the version that a file says it has. One without a version is of 1.
func schema(path string, t tree) (int64, error) {
	v, ok := t["version"]
	if !ok {
		return 1, nil
	}
	n, isInt := v.(int64)
	if _, known := criPlugins[n]; !isInt || !known {
		return 0, fmt.Errorf("%s has version = %v, of which this installer knows nothing; add the runtime by hand as docs/install.md shows", path, v)
	}
	return n, nil
}

// runtimesOf returns the table of runtimes of a whole configuration.
func runtimesOf(t tree) tree {
	for _, plugin := range []string{criPlugins[3], criPlugins[2]} {
		if r := lookup(t, "plugins", plugin, "containerd", "runtimes"); r != nil {
			return r
		}
	}
	return nil
}

// criDisabled says whether a whole configuration turns the service for kubelet off.
func criDisabled(t tree) bool {
	list, _ := t["disabled_plugins"].([]any)
	return slices.ContainsFunc(list, func(v any) bool {
		s, _ := v.(string)
		return s == criPlugins[1] || s == criPlugins[2] || s == criPlugins[3]
	})
}

// foreignChange names the first thing in which two whole configurations differ,
// but for the handler's runtime and for the list of imported files, which is about
// where files lie; "" if there is none.
func foreignChange(before, after tree, handler string) string {
	return difference("", strip(before, handler), strip(after, handler))
}

// strip returns a copy without what foreignChange leaves out.
func strip(t tree, handler string) tree {
	c := clone(t).(tree)
	delete(c, "imports")
	delete(runtimesOf(c), handler)
	return c
}

func clone(v any) any {
	t, ok := v.(tree)
	if !ok {
		return v
	}
	c := tree{}
	for k, v := range t {
		c[k] = clone(v)
	}
	return c
}

func difference(at string, a, b any) string {
	ta, oka := a.(tree)
	tb, okb := b.(tree)
	if !oka || !okb {
		if reflect.DeepEqual(a, b) {
			return ""
		}
		return at
	}
	keys := map[string]bool{}
	for k := range ta {
		keys[k] = true
	}
	for k := range tb {
		keys[k] = true
	}
	for _, k := range sortedKeys(keys) {
		va, oka := ta[k]
		vb, okb := tb[k]
		name := strings.TrimPrefix(at+"."+k, ".")
		// What is empty is the same as nothing, in tables that containerd passes on
		// as they are: others it prints whole.
		if !oka && isZero(vb) || !okb && isZero(va) {
			continue
		}
		if !oka || !okb {
			return name
		}
		if d := difference(name, va, vb); d != "" {
			return d
		}
	}
	return ""
}

func isEmpty(v any) bool {
	t, ok := v.(tree)
	return ok && len(t) == 0
}

// isZero says whether a value is an empty one of its type.
func isZero(v any) bool {
	list, isList := v.([]any)
	return isEmpty(v) || isList && len(list) == 0 || reflect.ValueOf(v).IsZero()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
