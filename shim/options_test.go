package shim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
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
	t.Setenv(cacheDirEnv, "/env/cache")
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
		"an unknown key":        {mustAny(t, &runtimeoptions.Options{ConfigBody: []byte("SystemdCgruop = true")}), `unknown key "SystemdCgruop"`},
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
