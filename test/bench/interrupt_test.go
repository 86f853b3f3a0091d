package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/census"
	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// The benchmark is interrupted while containers of both contenders come and go.
func TestInterruptedBenchmarkLeavesNothing(t *testing.T) {
	bin := os.Getenv("E2E_BIN")
	if bin == "" {
		t.Skip("E2E_BIN does not name the directory of the built binaries; run make test")
	}
	store, err := provision.Open(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	// All daemons of this test are below it; its name is short for the sockets.
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	t.Setenv("TMPDIR", dir)

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		b := &bench{bin: bin, version: "2.4", store: store, all: contenders, began: time.Now(), most: time.Hour}
		_, err := measureCalls(ctx, b, 1<<20)
		ended <- err
	}()
	var running []string
	for len(running) == 0 {
		select {
		case err := <-ended:
			t.Fatalf("it ended by itself: %v", err)
		case <-time.After(time.Millisecond):
		}
		if running, err = filepath.Glob(filepath.Join(dir, "cdwasm-*", "work", "direct-*", "rootfs", "proc")); err != nil {
			t.Fatal(err)
		}
	}
	daemonDir := filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(running[0]))))
	cancel()
	select {
	case err = <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not end")
	}
	if !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), context.Canceled.Error()) || strings.Contains(err.Error(), "left when") {
		t.Errorf("it ends with: %v", err)
	}
	name := filepath.Base(daemonDir)
	left, err := census.Take(census.Scope{Mark: "CDWASM_DAEMON=" + name, Namespace: name, Dir: daemonDir, Programs: filepath.Join(daemonDir, "bin"), Watch: []string{dir}})
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %q", err, left)
	}
}
