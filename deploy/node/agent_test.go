package node

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// nodesAPI serves Node objects as the API server does to the three calls that the
// installer makes; real clusters are in the end-to-end tests.
type nodesAPI struct {
	mu    sync.Mutex
	nodes map[string]*apiNode
	// seen is called after each change, without the lock.
	seen func(name string)
}

func (a *nodesAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer secret" {
		http.Error(w, `{"message":"who are you"}`, http.StatusUnauthorized)
		return
	}
	name, one := strings.CutPrefix(r.URL.Path, "/api/v1/nodes/")
	a.mu.Lock()
	n := a.nodes[name]
	switch {
	case !one:
		key := r.URL.Query().Get("labelSelector")
		var list struct {
			Items []*apiNode `json:"items"`
		}
		for _, n := range a.nodes {
			if _, ok := n.Metadata.Labels[key]; ok {
				list.Items = append(list.Items, n)
			}
		}
		_ = json.NewEncoder(w).Encode(list)
	case n == nil:
		http.Error(w, `{"message":"nodes \"`+name+`\" not found"}`, http.StatusNotFound)
	case r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/merge-patch+json":
		var patch struct {
			Metadata map[string]json.RawMessage `json:"metadata"`
		}
		_ = json.NewDecoder(r.Body).Decode(&patch)
		merge(&n.Metadata.Labels, patch.Metadata["labels"])
		merge(&n.Metadata.Annotations, patch.Metadata["annotations"])
		if a.seen != nil {
			defer a.seen(name)
		}
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(n)
	default:
		http.Error(w, `{"message":"not supported"}`, http.StatusMethodNotAllowed)
	}
	a.mu.Unlock()
}

// merge is RFC 7396 for a map of strings.
func merge(into *map[string]string, patch json.RawMessage) {
	if patch == nil {
		return
	}
	var changes map[string]*string
	_ = json.Unmarshal(patch, &changes)
	if changes == nil {
		*into = map[string]string{}
	}
	for k, v := range changes {
		if v == nil {
			delete(*into, k)
		} else {
			(*into)[k] = *v
		}
	}
}

// newAPI serves nodes of these names, all of them ready.
func newAPI(t *testing.T, names ...string) (*nodesAPI, *Cluster) {
	t.Helper()
	a := &nodesAPI{nodes: map[string]*apiNode{}}
	for _, name := range names {
		n := &apiNode{}
		n.Metadata.Name = name
		n.Metadata.Labels, n.Metadata.Annotations = map[string]string{ReadyLabel: "true"}, map[string]string{}
		a.nodes[name] = n
	}
	server := httptest.NewTLSServer(a)
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	c, err := newCluster(server.URL, ca, token)
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

func TestLabelsOfANode(t *testing.T) {
	a, c := newAPI(t, "one")
	ctx := t.Context()
	if err := c.mark(ctx, "one", map[string]any{ReadyLabel: nil, "x": "y"}, map[string]any{"a": "b"}); err != nil {
		t.Fatal(err)
	}
	n, err := c.node(ctx, "one")
	if err != nil || len(n.Metadata.Labels) != 1 || n.Metadata.Labels["x"] != "y" || n.Metadata.Annotations["a"] != "b" {
		t.Errorf("%+v, %v", n, err)
	}
	if err := c.mark(ctx, "one", nil, map[string]any{"a": nil}); err != nil || a.nodes["one"].Metadata.Labels["x"] != "y" {
		t.Errorf("after a change of annotations alone: %v, %+v", err, a.nodes["one"].Metadata)
	}
	if gone, err := tend(ctx, Config{}, c, "one", false); gone || err != nil || a.nodes["one"].Metadata.Labels[ReadyLabel] != "true" {
		t.Errorf("a lost label: %v, %v, %v", gone, err, a.nodes["one"].Metadata.Labels)
	}
	if _, err := c.node(ctx, "two"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a node that is not there: %v", err)
	}
}

// A node whose agent cannot uninstall keeps its label and says why.
func TestRefusalToUninstall(t *testing.T) {
	a, c := newAPI(t, "one")
	a.nodes["one"].Metadata.Annotations[uninstallRequest] = requestDrained
	// There is no containerd below this root.
	gone, err := tend(t.Context(), Config{Root: t.TempDir()}, c, "one", false)
	m := a.nodes["one"].Metadata
	if gone || err != nil || m.Labels[ReadyLabel] != "true" || m.Annotations[uninstallRefusal] == "" {
		t.Errorf("%v, %v, %+v", gone, err, m)
	}
	before := m.Annotations[uninstallRefusal]
	if _, err := tend(t.Context(), Config{Root: "/nonexistent"}, c, "one", false); err != nil || m.Annotations[uninstallRefusal] != before {
		t.Errorf("asked again: %v, %q", err, m.Annotations[uninstallRefusal])
	}
}

func TestUninstallAll(t *testing.T) {
	for name, refuses := range map[string]string{"all do": "", "one refuses": "Pods run"} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			a, c := newAPI(t, "one", "two", "three")
			delete(a.nodes["three"].Metadata.Labels, ReadyLabel)
			a.seen = func(name string) { // the agents
				a.mu.Lock()
				defer a.mu.Unlock()
				m := a.nodes[name].Metadata
				if m.Annotations[uninstallRequest] == "" {
					return
				}
				if name == "two" && refuses != "" {
					m.Annotations[uninstallRefusal] = refuses
					return
				}
				delete(m.Annotations, uninstallRequest)
				delete(m.Labels, ReadyLabel)
			}
			err := UninstallAll(t.Context(), c, false, time.Minute)
			if refuses == "" && err != nil || refuses != "" && (err == nil || !strings.Contains(err.Error(), "node two: Pods run")) {
				t.Errorf("%v", err)
			}
			for name, n := range a.nodes {
				if len(n.Metadata.Annotations) != 0 {
					t.Errorf("node %s keeps %v", name, n.Metadata.Annotations)
				}
			}
			if _, ready := a.nodes["two"].Metadata.Labels[ReadyLabel]; ready != (refuses != "") {
				t.Errorf("node two: %v", a.nodes["two"].Metadata.Labels)
			}
		})
	}
}

func TestUninstallAllOfANodeWithoutAgent(t *testing.T) {
	a, c := newAPI(t, "one")
	err := UninstallAll(t.Context(), c, true, time.Nanosecond)
	if err == nil || !strings.Contains(err.Error(), "[one]") {
		t.Errorf("%v", err)
	}
	if m := a.nodes["one"].Metadata; len(m.Annotations) != 0 || m.Labels[ReadyLabel] != "true" {
		t.Errorf("it leaves %+v", m)
	}
}
