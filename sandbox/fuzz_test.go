package sandbox

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// FuzzFromSpec holds of any spec, which comes by way of whoever may create
// containers, that it is refused in one sentence or describes a sandbox with a
// mount namespace of its own that the init reads as it was written.
func FuzzFromSpec(f *testing.F) {
	b, err := json.Marshal(ctrSpec())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"process":{"cwd":"/"},"linux":{"namespaces":[{"type":"mount"}],"sysctl":{"net.a":"1"}}}`))
	f.Add([]byte(`{"process":{"cwd":"/","rlimits":[{"type":"RLIMIT_CPU"}]},"mounts":[{"destination":"/","options":["rro","bind"]}]}`))
	f.Add([]byte(`{"process":{"cwd":"/"},"linux":{"namespaces":[{"type":"mount"},{"type":"network","path":"/proc/../proc/1/ns/net"}],"devices":[{"path":"/a/../dev/x","type":"p"}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var spec specs.Spec
		if json.Unmarshal(b, &spec) != nil {
			return
		}
		c, err := FromSpec(&spec, "/rootfs", []string{"x"})
		if err != nil {
			e, ok := errors.AsType[*control.Error](err)
			if !ok || strings.ContainsAny(err.Error(), "\n\x1b\x00") {
				t.Errorf("%T: %.300q", err, err)
			} else if e.Class != control.InvalidArgument && e.Class != control.NotFound {
				t.Errorf("class %q: %v", e.Class, err)
			}
			return
		}
		if c.CloneFlags&unix.CLONE_NEWNS == 0 {
			t.Error("accepted without a mount namespace of its own")
		}
		for _, m := range c.Mounts {
			if !filepath.IsAbs(m.Destination) || hasNUL(m.Destination) || hasNUL(m.Source) || m.Attr.Set&m.Attr.Clear&^unix.MOUNT_ATTR__ATIME != 0 {
				t.Errorf("mount %+v", m)
			}
		}
		for _, d := range c.Devices {
			if !filepath.IsAbs(d.Path) || hasNUL(d.Path) {
				t.Errorf("device %+v", d)
			}
		}
		said, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var heard Config
		if err := json.Unmarshal(said, &heard); err != nil {
			t.Fatal(err)
		}
		heard.Warnings, heard.container = c.Warnings, c.container
		if again, err := json.Marshal(&heard); err != nil || string(said) != string(again) {
			t.Errorf("the init reads\n%s for\n%s: %v", again, said, err)
		}
		if !reflect.DeepEqual(heard.Mounts, c.Mounts) || heard.CloneFlags != c.CloneFlags {
			t.Errorf("the init reads %+v for %+v", heard, *c)
		}
	})
}
