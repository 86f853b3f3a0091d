// Command provision makes what the demo and the tests need ahead of time, so
// that their own times hold no build: daemons, guests and tools. It prints the
// path of each thing that it was asked for.
//
//	provision containerd-2.4 runc busybox guests staticcheck
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "provision:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, wanted []string) error {
	store, err := provision.Open(os.Stderr)
	if err != nil {
		return err
	}
	for _, w := range wanted {
		var path string
		version, isDaemon := strings.CutPrefix(w, "containerd-")
		program, isNative := strings.CutPrefix(w, "native-")
		switch {
		case isDaemon:
			path, err = store.Containerd(ctx, version)
		case isNative:
			path, err = store.Native(ctx, program)
		case w == "runc":
			path, err = store.Runc(ctx)
		case w == "kubernetes":
			path, err = store.Kubernetes(ctx)
		case w == "kind":
			path, err = store.Kind(ctx)
		case w == "kind-node":
			path, err = store.KindNode(ctx)
		case w == "busybox":
			path, err = store.Busybox(ctx)
		case w == "staticcheck":
			path, err = store.Staticcheck(ctx)
		case w == "python":
			path, err = store.Python(ctx)
		case w == "helm":
			path, err = store.Helm(ctx)
		case w == "guests":
			path, err = store.Guests(ctx)
		default:
			err = fmt.Errorf("unknown name %q: use containerd-{%s}, native-PROGRAM, runc, busybox, helm, kind, kind-node, kubernetes, python, guests or staticcheck",
				w, strings.Join(provision.Versions, ","))
		}
		if err != nil {
			return err
		}
		fmt.Println(path)
	}
	return nil
}
