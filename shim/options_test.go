package shim

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wasmshim/containerd-shim-wasm/compile"
	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/oci"
)

func mustAny(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := typeurl.MarshalAnyToProto(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOptionsFromEverySource(t *testing.T) {
	t.Setenv(compile.CacheDirEnv, "/env/cache")
	file := filepath.Join(t.TempDir(), "shim.toml")
	if err := os.WriteFile(file, []byte("SystemdCgroup = true\nCacheDir = \"/file/cache\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		any     *anypb.Any
		systemd bool
		cache   string
	}{
		"none":          {nil, false, "/env/cache"},
		"runc's":        {mustAny(t, &runcoptions.Options{SystemdCgroup: true}), true, "/env/cache"},
		"a table":       {mustAny(t, &runtimeoptions.Options{ConfigBody: []byte("SystemdCgroup = true")}), true, "/env/cache"},
		"a file":        {mustAny(t, &runtimeoptions.Options{ConfigPath: file}), true, "/file/cache"},
		"an empty body": {mustAny(t, &runtimeoptions.Options{TypeUrl: "x"}), false, "/env/cache"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parseOptions(test.any)
			if err != nil {
				t.Fatal(err)
			}
			if o.SystemdCgroup != test.systemd || o.CacheDir != test.cache {
				t.Errorf("got %+v", o)
			}
		})
	}
}

func TestOptionsRefuseWhatTheyDoNotKnow(t *testing.T) {
	for name, test := range map[string]struct {
		any  *anypb.Any
		says string
	}{
		"an unknown key":        {mustAny(t, &runtimeoptions.Options{ConfigBody: []byte("SystemdCgruop = true")}), `unknown key "SystemdCgruop" (did you mean "SystemdCgroup"?)`},
		"no size":               {mustAny(t, &runtimeoptions.Options{ConfigBody: []byte(`MemoryLimit = "64 MB"`)}), "MemoryLimit: it is no size"},
		"too few files":         {mustAny(t, &runtimeoptions.Options{ConfigBody: []byte(`MaxFiles = -1`)}), "MaxFiles: it is no number of descriptors"},
		"no time":               {mustAny(t, &runtimeoptions.Options{ConfigBody: []byte(`Drain = "soon"`)}), "Drain: it is no time for a drain"},
		"no directory":          {mustAny(t, &runtimeoptions.Options{ConfigBody: []byte(`Preopens = "data"`)}), "Preopens: data is no directory"},
		"no name server":        {mustAny(t, &runtimeoptions.Options{ConfigBody: []byte(`DNSServer = "8.8.8.8"`)}), "DNSServer: it is no source of a name server"},
		"no level":              {mustAny(t, &runtimeoptions.Options{ConfigBody: []byte(`LogLevel = "loud"`)}), "LogLevel: not a valid logrus Level"},
		"a wrong type of value": {mustAny(t, &runtimeoptions.Options{ConfigBody: []byte(`SystemdCgroup = "yes"`)}), "SystemdCgroup"},
		"a missing file":        {mustAny(t, &runtimeoptions.Options{ConfigPath: "/nonexistent.toml"}), "/nonexistent.toml"},
		"a device as file":      {mustAny(t, &runtimeoptions.Options{ConfigPath: "/dev/zero"}), "/dev/zero"},
		"another message":       {mustAny(t, &tasktypes.ProcessInfo{Pid: 1}), "another runtime"},
		"an unlinked message":   {&anypb.Any{TypeUrl: "types.example/x.Y", Value: []byte{1}}, `"types.example/x.Y"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseOptions(test.any)
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOptionsSetWhatEveryGuestGets(t *testing.T) {
	o, err := parseOptions(mustAny(t, &runtimeoptions.Options{ConfigBody: []byte(`
		AllowNative = false
		MemoryLimit = "64Mi"
		MaxFiles = 100
		Drain = "30s"
		Preopens = "/data:ro"
		DNSServer = "resolv.conf"`)}))
	want := oci.Settings{DNSServer: true, MemoryLimit: 64 << 20, MaxFiles: 100, Drain: 30 * time.Second,
		Preopens: []oci.Preopen{{Host: "/data", Guest: "/data", ReadOnly: true}}}
	if err != nil || o.AllowNative || !reflect.DeepEqual(o.guest, want) {
		t.Errorf("got %+v, %v", o, err)
	}
	if o, err = parseOptions(nil); err != nil || !o.AllowNative || !reflect.DeepEqual(o.guest, oci.Settings{}) {
		t.Errorf("without options: %+v, %v", o, err)
	}
}

func TestOptionsReachRuncInItsOwnType(t *testing.T) {
	o, err := parseOptions(mustAny(t, &runtimeoptions.Options{ConfigBody: []byte("SystemdCgroup = true\nBinaryName = \"/opt/runc\"\nRoot = \"/r\"")}))
	if err != nil {
		t.Fatal(err)
	}
	a, err := o.runcAny()
	if err != nil {
		t.Fatal(err)
	}
	v, err := typeurl.UnmarshalAny(a)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := v.(*runcoptions.Options)
	if !ok || !got.SystemdCgroup || got.BinaryName != "/opt/runc" || got.Root != "/r" {
		t.Errorf("got %#v", v)
	}
}

func TestOptionsOfLimits(t *testing.T) {
	for body, want := range map[string]Options{
		"": {cacheSize: 10 << 30, compile: control.CompileLimits{Time: 2 * time.Minute, Memory: 2 << 30}, Landlock: true},
		"CacheSize = \"512Mi\"\nCompileTime = \"90s\"\nCompileMemory = \"1Gi\"\nLandlock = false": {
			cacheSize: 512 << 20, compile: control.CompileLimits{Time: 90 * time.Second, Memory: 1 << 30},
		},
	} {
		o, err := parseOptions(mustAny(t, &runtimeoptions.Options{ConfigBody: []byte(body)}))
		if err != nil {
			t.Fatal(err)
		}
		if o.cacheSize != want.cacheSize || o.compile != want.compile || o.Landlock != want.Landlock {
			t.Errorf("%q gives %+v", body, o)
		}
	}
	for body, key := range map[string]string{
		`CacheSize = "lots"`: "CacheSize", `CacheSize = -5`: "CacheSize", `CompileMemory = "0"`: "CompileMemory",
		`CompileTime = "soon"`: "CompileTime", `CompileTime = "1ms"`: "CompileTime", `Landlock = "yes"`: "Landlock",
	} {
		_, err := parseOptions(mustAny(t, &runtimeoptions.Options{ConfigBody: []byte(body)}))
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", body, err)
		}
	}
}
