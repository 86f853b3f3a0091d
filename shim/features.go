package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"reflect"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

// wasmFeatures lists what holds for Wasm containers, whatever the kernel has.
func wasmFeatures() *features.Features {
	yes, no := true, false
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		MountOptions:  sandbox.MountOptions(),
		Hooks:         sandbox.HookNames(),
		Linux: &features.Linux{
			Namespaces: []string{
				string(specs.CgroupNamespace), string(specs.IPCNamespace), string(specs.MountNamespace),
				string(specs.NetworkNamespace), string(specs.PIDNamespace), string(specs.TimeNamespace),
				string(specs.UserNamespace), string(specs.UTSNamespace),
			},
			Cgroup:          &features.Cgroup{V1: &yes, V2: &yes},
			Seccomp:         sandbox.SeccompFeatures(),
			Apparmor:        &features.Apparmor{Enabled: &yes},
			Selinux:         &features.Selinux{Enabled: &yes},
			IntelRdt:        &features.IntelRdt{Enabled: &no},
			MemoryPolicy:    sandbox.MemoryPolicyFeatures(),
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &no},
		},
	}
}

// runcFeatures asks the runc of native containers for its own; binary is a path
// or a name in PATH. runc has the command since 1.1.
func runcFeatures(ctx context.Context, binary string) (*features.Features, error) {
	if binary == "" {
		binary = "runc"
	}
	cmd := exec.CommandContext(ctx, binary, "features")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s features: %w: %s", binary, err, bytes.TrimSpace(stderr.Bytes()))
	}
	f := new(features.Features)
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("%s features: %w", binary, err)
	}
	return f, nil
}

// unknownRunc is what every runc does that this shim can have to do with.
func unknownRunc() *features.Features {
	f := wasmFeatures()
	f.MountOptions = slices.DeleteFunc(f.MountOptions, func(o string) bool { return o == "idmap" || o == "ridmap" })
	f.Linux.Namespaces = slices.DeleteFunc(f.Linux.Namespaces, func(n string) bool {
		return n == string(specs.TimeNamespace) || n == string(specs.UserNamespace)
	})
	f.Linux.MountExtensions, f.Linux.MemoryPolicy = nil, nil
	return f
}

// narrow leaves in ours what theirs has, too: the words of lists, and what is
// true. Where theirs says nothing, which means unknown, nothing is left.
func narrow(ours, theirs *features.Features) {
	narrowValue(reflect.ValueOf(ours).Elem(), reflect.ValueOf(theirs).Elem())
}

func narrowValue(ours, theirs reflect.Value) {
	switch ours.Kind() {
	case reflect.Struct:
		for i := range ours.NumField() {
			narrowValue(ours.Field(i), theirs.Field(i))
		}
	case reflect.Pointer:
		switch {
		case ours.IsNil():
		case theirs.IsNil():
			ours.SetZero()
		case ours.Elem().Kind() == reflect.Bool:
			both := ours.Elem().Bool() && theirs.Elem().Bool()
			ours.Set(reflect.ValueOf(&both))
		default:
			narrowValue(ours.Elem(), theirs.Elem())
		}
	case reflect.Slice:
		var both []string
		for _, word := range ours.Interface().([]string) {
			if slices.Contains(theirs.Interface().([]string), word) {
				both = append(both, word)
			}
		}
		ours.Set(reflect.ValueOf(both))
	}
}
