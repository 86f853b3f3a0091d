package node

import (
	"encoding/json"
	"strings"
	"testing"
)

// What the API server makes of the calls is in test/cluster.
func TestPatchOfANodeNamesNoMapThatItLeaves(t *testing.T) {
	for want, p := range map[string]any{
		`{"metadata":{"annotations":{"a":null}}}`:                               mergePatch(nil, map[string]any{"a": nil}),
		`{"metadata":{"labels":{"l":"x"}}}`:                                     mergePatch(map[string]any{"l": "x"}, nil),
		`{"metadata":{"annotations":{"a":"b"},"labels":{"l":null,"m":"true"}}}`: mergePatch(map[string]any{"l": nil, "m": "true"}, map[string]any{"a": "b"}),
	} {
		if b, err := json.Marshal(p); err != nil || string(b) != want {
			t.Errorf("%s, %v; want %s", b, err, want)
		}
	}
}

func TestOutsideOfAPodThereIsNoCluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := InCluster(); err == nil || !strings.Contains(err.Error(), "--node-name") {
		t.Errorf("%v", err)
	}
	if _, err := newCluster("https://127.0.0.1:1", []byte("no certificate"), ""); err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Errorf("%v", err)
	}
}
