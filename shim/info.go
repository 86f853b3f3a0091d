package shim

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/log"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wasmshim/containerd-shim-wasm/internal/version"
)

// runtimeInfo describes the shim to a daemon. options holds the marshalled
// runtime options or nothing; they are checked, so that a typing error in the
// daemon's configuration shows when the daemon starts.
func runtimeInfo(ctx context.Context, options io.Reader) (*types.RuntimeInfo, error) {
	b, err := io.ReadAll(io.LimitReader(options, maxBootstrapInput))
	if err != nil {
		return nil, fmt.Errorf("read runtime options: %w", err)
	}
	info := &types.RuntimeInfo{
		Name:    RuntimeName,
		Version: &types.RuntimeVersion{Version: version.Version},
	}
	var any anypb.Any
	if len(b) > 0 {
		if err := proto.Unmarshal(b, &any); err != nil {
			return nil, fmt.Errorf("parse runtime options: %w", err)
		}
		info.Options = &any
	}
	parsed, err := parseOptions(&any)
	if err != nil {
		return nil, err
	}
	if info.Features, err = typeurl.MarshalAnyToProto(runtimeFeatures(ctx, parsed)); err != nil {
		return nil, fmt.Errorf("marshal features: %w", err)
	}
	return info, nil
}

// runtimeFeatures lists what holds for Wasm and for native containers alike:
// daemons give both to the same runtime and refuse Pods by it. So runc is asked.
func runtimeFeatures(ctx context.Context, options *Options) *features.Features {
	f := wasmFeatures()
	theirs, err := runcFeatures(ctx, options.BinaryName)
	if err != nil {
		log.G(ctx).WithError(err).Debug("runc does not tell its features")
		theirs = unknownRunc()
	}
	narrow(f, theirs)
	return f
}
