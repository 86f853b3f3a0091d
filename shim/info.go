package shim

import (
	"fmt"
	"io"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wasmshim/containerd-shim-wasm/internal/version"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

// runtimeInfo describes the shim to a daemon. options holds the marshalled
// runtime options or nothing; they are checked, so that a typing error in the
// daemon's configuration shows when the daemon starts.
func runtimeInfo(options io.Reader) (*types.RuntimeInfo, error) {
	b, err := io.ReadAll(io.LimitReader(options, maxBootstrapInput))
	if err != nil {
		return nil, fmt.Errorf("read runtime options: %w", err)
	}
	info := &types.RuntimeInfo{
		Name:    RuntimeName,
		Version: &types.RuntimeVersion{Version: version.Version},
	}
	if len(b) > 0 {
		var any anypb.Any
		if err := proto.Unmarshal(b, &any); err != nil {
			return nil, fmt.Errorf("parse runtime options: %w", err)
		}
		if _, err := parseOptions(&any); err != nil {
			return nil, err
		}
		info.Options = &any
	}
	if info.Features, err = typeurl.MarshalAnyToProto(runtimeFeatures()); err != nil {
		return nil, fmt.Errorf("marshal features: %w", err)
	}
	return info, nil
}

// runtimeFeatures lists what holds for Wasm and for native containers alike;
// daemons refuse Pods by it.
func runtimeFeatures() *features.Features {
	yes, no := true, false
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		MountOptions:  sandbox.MountOptions(),
		Hooks:         sandbox.HookNames(),
		Linux: &features.Linux{
			Namespaces: []string{
				string(specs.CgroupNamespace), string(specs.IPCNamespace), string(specs.MountNamespace),
				string(specs.NetworkNamespace), string(specs.PIDNamespace), string(specs.UTSNamespace),
			},
			Cgroup:          &features.Cgroup{V1: &yes, V2: &yes},
			Seccomp:         sandbox.SeccompFeatures(),
			Apparmor:        &features.Apparmor{Enabled: &yes},
			Selinux:         &features.Selinux{Enabled: &yes},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &no}},
		},
	}
}
