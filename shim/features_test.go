package shim

import (
	"context"
	"reflect"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

func TestFeaturesAreThoseOfBothRuntimes(t *testing.T) {
	yes, no := true, false
	old := func() *features.Features { // as runc 1.1 says
		return &features.Features{
			Hooks:        []string{"createRuntime", "startContainer"},
			MountOptions: []string{"ro", "rro", "sync"},
			Linux: &features.Linux{
				Namespaces: []string{"mount", "user"},
				Cgroup:     &features.Cgroup{V1: &yes, V2: &no, Systemd: &yes},
			},
		}
	}
	f := wasmFeatures()
	narrow(f, old())
	l := f.Linux
	if !reflect.DeepEqual(f.MountOptions, []string{"ro", "rro", "sync"}) || !reflect.DeepEqual(f.Hooks, []string{"createRuntime"}) ||
		!reflect.DeepEqual(l.Namespaces, []string{"mount", "user"}) {
		t.Errorf("options %v, hooks %v, namespaces %v", f.MountOptions, f.Hooks, l.Namespaces)
	}
	if !*l.Cgroup.V1 || *l.Cgroup.V2 || l.Cgroup.Systemd != nil || l.MountExtensions != nil || l.Seccomp != nil {
		t.Errorf("got %+v, cgroup %+v", l, l.Cgroup)
	}
	f, current := wasmFeatures(), old()
	current.Linux.MountExtensions = &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}}
	narrow(f, current)
	if !*f.Linux.MountExtensions.IDMap.Enabled {
		t.Error("no id-mapped mounts, which both have")
	}
}

func TestFeaturesWithoutRunc(t *testing.T) {
	f := runtimeFeatures(context.Background(), &Options{BinaryName: "/no/such/runc"})
	for _, name := range []string{"user", "time"} {
		if slices.Contains(f.Linux.Namespaces, name) {
			t.Errorf("advertised for a runc that nobody knows: %s", name)
		}
	}
	if f.Linux.MountExtensions != nil || slices.Contains(f.MountOptions, "idmap") || !slices.Contains(f.MountOptions, "rro") {
		t.Errorf("mount options %v, extensions %+v", f.MountOptions, f.Linux.MountExtensions)
	}
}
