package oci

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func TestAnnotationsSetWhatTheyName(t *testing.T) {
	s := Settings{}
	err := s.Annotate(map[string]string{
		AnnotationPrefix + "memory-limit": "64Mi",
		AnnotationPrefix + "max-files":    "256",
		AnnotationPrefix + "drain":        "1m30s",
		AnnotationPrefix + "preopens":     "/data, /etc:ro,/tmp/:rw",
		AnnotationPrefix + "listen":       "0.0.0.0:8080, [::]:53",
		AnnotationPrefix + "dns-server":   "resolv.conf",
		"io.kubernetes.cri.sandbox-id":    "another's",
	})
	want := Settings{
		MemoryLimit: 64 << 20,
		MaxFiles:    256,
		Drain:       90 * time.Second,
		Preopens:    []Preopen{{Host: "/data", Guest: "/data"}, {Host: "/etc", Guest: "/etc", ReadOnly: true}, {Host: "/tmp", Guest: "/tmp"}},
		Listeners:   []string{"0.0.0.0:8080", "[::]:53"},
		DNSServer:   true,
	}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, %v\nwant %+v", s, err, want)
	}
}

func TestAnnotationsAreRefusedByName(t *testing.T) {
	node := Settings{MemoryLimit: 64 << 20, MaxFiles: 100, Preopens: []Preopen{{Host: "/data", Guest: "/data", ReadOnly: true}}}
	for name, test := range map[string]struct {
		node       Settings
		key, value string
		says       []string
	}{
		"an unknown one":          {node, "memory-limits", "1Gi", []string{"io.containerd.wasm.v1/memory-limits is not known", `(did you mean "memory-limit"?)`}},
		"none like it":            {node, "xyzzy", "", []string{"io.containerd.wasm.v1/xyzzy is not known; see docs/configuration.md"}},
		"no size":                 {Settings{}, "memory-limit", "64MB", []string{"memory-limit is 64MB: it is no size", "64Mi"}},
		"a negative size":         {Settings{}, "memory-limit", "-1", []string{"it is no size"}},
		"a size of nothing":       {Settings{}, "memory-limit", "0", []string{"it is no size"}},
		"a size beyond 64 bits":   {Settings{}, "memory-limit", "18446744073709551615Ki", []string{"it is no size"}},
		"a higher memory limit":   {node, "memory-limit", "65Mi", []string{"allows at most 67108864", "raise the limit there"}},
		"a higher limit of files": {node, "max-files", "101", []string{"allows at most 100"}},
		"too few files":           {node, "max-files", "3", []string{"use 16 to 65536"}},
		"no time":                 {node, "drain", "30", []string{"it is no time for a drain; use one such as 30s"}},
		"a negative time":         {node, "drain", "-30s", []string{"it is no time for a drain"}},
		"an endless time":         {node, "drain", "100000h", []string{"at most 24h"}},
		"a relative directory":    {Settings{}, "preopens", "data", []string{"data is no directory with rights; use /path:ro or /path:rw"}},
		"unknown rights":          {Settings{}, "preopens", "/data:rx", []string{"/data:rx is no directory with rights"}},
		"no directory":            {Settings{}, "preopens", "", []string{`"" is no directory`}},
		"a directory twice":       {Settings{}, "preopens", "/data,/data/", []string{"/data is named twice"}},
		"a directory outside":     {node, "preopens", "/database", []string{"does not allow /database:rw"}},
		"more rights":             {node, "preopens", "/data/sub:rw", []string{"does not allow /data/sub:rw"}},
		"out of it by dots":       {node, "preopens", "/data/../etc:ro", []string{"does not allow /etc:ro"}},
		"no address":              {node, "listen", "8080", []string{"8080 is no address with a port; use one such as 0.0.0.0:8080"}},
		"a name for an address":   {node, "listen", "localhost:80", []string{"localhost:80 is no address"}},
		"an address of a server":  {Settings{}, "dns-server", "10.0.0.1", []string{"dns-server is 10.0.0.1: it is no source", "use resolv.conf or none"}},
		"any port":                {node, "listen", "0.0.0.0:0", []string{"0.0.0.0:0 is no address with a port"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.node
			err := s.Annotate(map[string]string{AnnotationPrefix + test.key: test.value})
			e, ok := errors.AsType[*control.Error](err)
			if !ok || e.Class != control.InvalidArgument {
				t.Fatalf("got %v", err)
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func TestAnnotationsNarrowTheNodesConfiguration(t *testing.T) {
	s := Settings{MemoryLimit: 64 << 20, Preopens: []Preopen{{Host: "/", Guest: "/", ReadOnly: true}, {Host: "/tmp", Guest: "/tmp"}}}
	err := s.Annotate(map[string]string{
		AnnotationPrefix + "memory-limit": "1Mi",
		AnnotationPrefix + "preopens":     "/data:ro,/tmp/a:rw",
	})
	if err != nil || s.MemoryLimit != 1<<20 || len(s.Preopens) != 2 || s.Preopens[1].Host != "/tmp/a" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestAContainerNeedsNoNameServerOfTheNodes(t *testing.T) {
	w, s := &Workload{}, Settings{DNSServer: true}
	s.Apply(w)
	if !w.DNSServer {
		t.Error("the guest is not told of its name server")
	}
	if err := s.Annotate(map[string]string{AnnotationPrefix + "dns-server": "none"}); err != nil || s.DNSServer {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestRelativePathsKeepTheRightsOfTheirDirectory(t *testing.T) {
	preopens := []Preopen{{Host: "/data", Guest: "/data"}, {Host: "/data/fixed", Guest: "/data/fixed", ReadOnly: true}}
	for cwd, want := range map[string][]Preopen{
		"/data/x":       append(preopens[:2:2], Preopen{Host: "/data/x", Guest: "."}),
		"/data/fixed/x": append(preopens[:2:2], Preopen{Host: "/data/fixed/x", Guest: ".", ReadOnly: true}),
		"/database":     preopens,
		"/":             preopens,
	} {
		w := &Workload{Cwd: cwd, Preopens: []Preopen{{Host: "/", Guest: "/"}}}
		s := Settings{Preopens: preopens, Drain: time.Second, MaxFiles: 20}
		s.Apply(w)
		if !reflect.DeepEqual(w.Preopens, want) {
			t.Errorf("in %s the guest gets %v, want %v", cwd, w.Preopens, want)
		}
		if !w.Signals || w.MaxFiles != 20 {
			t.Errorf("got %+v", w)
		}
	}
	w := &Workload{Cwd: "/", Preopens: []Preopen{{Host: "/", Guest: "/"}}}
	(&Settings{}).Apply(w)
	if len(w.Preopens) != 1 || w.Signals {
		t.Errorf("without settings the guest gets %+v", w)
	}
}
