// Command grpc serves gRPC's health protocol on the port of its first argument, as a guest on
// the sockets of stealthrocket/net. It knows the service orders.
package main

import (
	"fmt"
	"os"

	"github.com/stealthrocket/net/wasip1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

func serve(port string) error {
	l, err := wasip1.Listen("tcp", "0.0.0.0:"+port)
	if err != nil {
		return err
	}
	s, h := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(s, h)
	h.SetServingStatus("orders", healthpb.HealthCheckResponse_SERVING)
	fmt.Println("serves on", l.Addr())
	return s.Serve(l)
}
