package shim

import (
	"context"
	"fmt"
	"io"
	"os"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxBootstrapInput bounds what `start` reads from stdin, as pkg/shim does.
const maxBootstrapInput = 10 << 20

// bootstrap answers containerd's `start`: it makes sure that a server for the
// task's group listens, and prints its address.
//
// Daemons from 2.3 on send BootstrapParams on stdin and read a BootstrapResult;
// older ones send the runtime options or nothing and read a bare address, which
// means task API version 2 over ttrpc to all of them.
func bootstrap(ctx context.Context, args *arguments, stdin io.Reader, stdout io.Writer) error {
	if args.namespace == "" || args.id == "" {
		return fmt.Errorf("start needs -namespace and -id")
	}
	input, err := io.ReadAll(io.LimitReader(stdin, maxBootstrapInput))
	if err != nil {
		return fmt.Errorf("read bootstrap parameters: %w", err)
	}
	ctx = namespaces.WithNamespace(ctx, args.namespace)

	params, legacy, err := parseBootstrap(input, args)
	if err != nil {
		return err
	}
	address, server, err := startServer(ctx, params)
	if err != nil {
		return err
	}
	answer := []byte(address)
	if !legacy {
		if answer, err = bootstrapAnswer(address); err != nil {
			return err
		}
	}
	// A failure from here on ends the server with this process.
	if _, err := stdout.Write(answer); err != nil || server == nil {
		return err
	}
	server.complete()
	return nil
}

// bootstrapAnswer is the answer that daemons from 2.3 on read.
func bootstrapAnswer(address string) ([]byte, error) {
	result := &bootapi.BootstrapResult{Version: 3, Protocol: "ttrpc", Address: address}
	// Without this extension, even empty, the daemon executes `-info` once
	// more to ask for mount capabilities in their deprecated form.
	if err := result.AddExtension(&types.MountCapabilities{}); err != nil {
		return nil, fmt.Errorf("add mount capabilities: %w", err)
	}
	out, err := proto.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("marshal bootstrap result: %w", err)
	}
	return out, nil
}

// parseBootstrap returns the parameters of either protocol, and whether it was
// the legacy one. The runtime options of the legacy protocol may parse as
// BootstrapParams too, so only the identity on the command line tells them
// apart.
func parseBootstrap(input []byte, args *arguments) (_ *bootapi.BootstrapParams, legacy bool, _ error) {
	var params bootapi.BootstrapParams
	if err := proto.Unmarshal(input, &params); err == nil &&
		params.InstanceID == args.id && params.Namespace == args.namespace {
		return &params, false, nil
	}
	params = bootapi.BootstrapParams{
		InstanceID:            args.id,
		Namespace:             args.namespace,
		ContainerdGrpcAddress: args.address,
		ContainerdBinary:      args.binary,
		// The server takes this address from the inherited environment.
		ContainerdTtrpcAddress: os.Getenv("TTRPC_ADDRESS"),
	}
	if args.debug {
		params.LogLevel = bootapi.LogLevel_LOG_LEVEL_DEBUG
	}
	if len(input) > 0 {
		var options anypb.Any
		if err := proto.Unmarshal(input, &options); err != nil {
			return nil, false, fmt.Errorf("stdin holds neither bootstrap parameters nor runtime options: %w", err)
		}
		params.Extensions = append(params.Extensions, &bootapi.Extension{Value: &options})
	}
	return &params, true, nil
}
