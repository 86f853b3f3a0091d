// Command daprd is Dapr's sidecar: its runtime with its flags, and of its components
// those that need no other service. Dapr's own main can only be built with a hundred
// more, whose clients would be most of the build.
package main

import (
	"context"
	"os"

	pubsub "github.com/dapr/components-contrib/pubsub/in-memory"
	state "github.com/dapr/components-contrib/state/in-memory"
	"github.com/dapr/dapr/cmd/daprd/options"
	pubsubs "github.com/dapr/dapr/pkg/components/pubsub"
	states "github.com/dapr/dapr/pkg/components/state"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/metrics"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/runtime"
	"github.com/dapr/dapr/pkg/runtime/registry"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/logger"
	"github.com/dapr/kit/signals"
)

var log = logger.NewLogger("dapr.runtime")

func main() {
	if err := run(signals.Context(), os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

// run is what Dapr's own command does, but for the components.
func run(ctx context.Context, args []string) error {
	o, err := options.New(args)
	if err != nil {
		return err
	}
	states.DefaultRegistry.Logger, pubsubs.DefaultRegistry.Logger = log, log
	states.DefaultRegistry.RegisterComponent(state.NewInMemoryStateStore, "in-memory")
	pubsubs.DefaultRegistry.RegisterComponent(pubsub.New, "in-memory")
	health := healthz.New()
	provider, err := security.New(ctx, security.Options{
		SentryAddress: o.SentryAddress, ControlPlaneTrustDomain: o.ControlPlaneTrustDomain, ControlPlaneNamespace: o.ControlPlaneNamespace,
		TrustAnchors: o.TrustAnchors, AppID: o.AppID, MTLSEnabled: o.EnableMTLS, Mode: modes.DaprMode(o.Mode), Healthz: health,
	})
	if err != nil {
		return err
	}
	return concurrency.NewRunnerManager(provider.Run, func(ctx context.Context) error {
		handler, err := provider.Handler(ctx)
		if err != nil {
			return err
		}
		r, err := runtime.FromConfig(ctx, &runtime.Config{
			AppID: o.AppID, Mode: o.Mode, Config: o.Config, ResourcesPath: o.ResourcesPath,
			ActorsService: o.ActorsService, RemindersService: o.RemindersService, SchedulerAddress: o.SchedulerAddress, SchedulerStreams: o.SchedulerJobStreams,
			ControlPlaneAddress: o.ControlPlaneAddress, SentryAddress: o.SentryAddress, EnableMTLS: o.EnableMTLS,
			AppProtocol: o.AppProtocol, ApplicationPort: o.AppPort, AppChannelAddress: o.AppChannelAddress, AppMaxConcurrency: o.AppMaxConcurrency,
			DaprHTTPPort: o.DaprHTTPPort, DaprAPIGRPCPort: o.DaprAPIGRPCPort, DaprAPIListenAddresses: o.DaprAPIListenAddresses,
			DaprInternalGRPCPort: o.DaprInternalGRPCPort, DaprInternalGRPCListenAddress: o.DaprInternalGRPCListenAddress,
			DaprPublicPort: o.DaprPublicPort, DaprPublicListenAddress: o.DaprPublicListenAddress,
			AllowedOrigins: o.AllowedOrigins, MaxRequestSize: o.MaxRequestSize, ReadBufferSize: o.ReadBufferSize,
			ProfilePort: o.ProfilePort, EnableProfiling: o.EnableProfiling, DaprGracefulShutdownSeconds: o.DaprGracefulShutdownSeconds,
			EnableAppHealthCheck: o.EnableAppHealthCheck, AppHealthCheckPath: o.AppHealthCheckPath, AppHealthProbeInterval: o.AppHealthProbeInterval,
			AppHealthProbeTimeout: o.AppHealthProbeTimeout, AppHealthThreshold: o.AppHealthThreshold,
			Metrics: metrics.Options{Enabled: o.Metrics.Enabled(), Log: log, Port: o.Metrics.Port(),
				Namespace: metrics.DefaultMetricNamespace, Healthz: health, ListenAddress: o.Metrics.ListenAddress()},
			Registry: registry.NewOptions().WithStateStores(states.DefaultRegistry).WithPubSubs(pubsubs.DefaultRegistry),
			Security: handler, Healthz: health,
		})
		if err != nil {
			return err
		}
		return r.Run(ctx)
	}).Run(ctx)
}
