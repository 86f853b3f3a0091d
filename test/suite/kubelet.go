package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

const (
	// clusterModule is a Go module of its own for Kubernetes' client libraries.
	clusterModule = "test/cluster"
	kindModule    = "test/kind"
)

// kubelet runs the tests on a Kubernetes of one node. What that is made of is made
// first.
func (s *suite) kubelet(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.bin, "containerd-shim-wasm-v1")); err != nil {
		return fmt.Errorf("run `make build` first: %w", err)
	}
	for _, make := range []func(context.Context) (string, error){
		s.store.Kubernetes, s.store.Daprd, s.store.Helm, s.store.Registry, s.store.Runc, s.store.Busybox, s.store.Guests,
	} {
		if _, err := make(ctx); err != nil {
			return err
		}
	}
	if _, err := s.store.Containerd(ctx, "2.4"); err != nil {
		return err
	}
	// The tests wait for a cluster more than they compute.
	args := []string{"go", "test", "-json", "-count=1", "-parallel=8", "-timeout=20m"}
	if pattern := os.Getenv("E2E_RUN"); pattern != "" {
		args = append(args, "-run", pattern)
	}
	return s.goTestIn(ctx, filepath.Join(s.store.Checkout, clusterModule), append(args, "./..."), []string{"E2E_BIN=" + s.bin}, s.tally)
}

// kind runs the tests on a kind cluster.
func (s *suite) kind(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.bin, "containerd-shim-wasm-v1")); err != nil {
		return fmt.Errorf("run `make build` first: %w", err)
	}
	for _, make := range []func(context.Context) (string, error){s.store.KindNode, s.store.Kind, s.store.Helm, s.store.Busybox, s.store.Guests} {
		if _, err := make(ctx); err != nil {
			return err
		}
	}
	// Each step of it has a limit that is nearer, so that the cluster is deleted.
	args := []string{"go", "test", "-json", "-count=1", "-timeout=30m", "./..."}
	return s.goTestIn(ctx, filepath.Join(s.store.Checkout, kindModule), args, []string{"E2E_BIN=" + s.bin}, s.tally)
}
