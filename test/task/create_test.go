package task

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

func TestOneOfManyConcurrentCreatesWins(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	errs := concurrently(8, func() error { _, err := s.create("a"); return err })
	if got := countClass(errs, nil); got != 1 {
		t.Errorf("%d creates succeeded: %v", got, errs)
	}
	if got := countClass(errs, errdefs.ErrAlreadyExists); got != 7 {
		t.Errorf("%d creates said that it exists: %v", got, errs)
	}
	errs = concurrently(8, func() error {
		_, err := s.Start(context.Background(), &taskapi.StartRequest{ID: "a"})
		return err
	})
	if countClass(errs, nil) != 1 || countClass(errs, errdefs.ErrFailedPrecondition) != 7 {
		t.Errorf("concurrent starts: %v", errs)
	}
	errs = concurrently(8, func() error { return s.kill("a", unix.SIGKILL) })
	if ok := countClass(errs, nil); ok == 0 || ok+countClass(errs, errdefs.ErrNotFound) != 8 {
		t.Errorf("concurrent kills: %v", errs)
	}
	s.wait("a")
	errs = concurrently(8, func() error { _, err := s.delete("a"); return err })
	if countClass(errs, nil) != 1 || countClass(errs, errdefs.ErrNotFound) != 7 {
		t.Errorf("concurrent deletes: %v", errs)
	}
	d.assertEvents("a", "create", "start", "exit 137", "delete 137")
}

func concurrently(n int, f func() error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = errgrpc.ToNative(f()) })
	}
	wg.Wait()
	return errs
}

func countClass(errs []error, class error) (n int) {
	for _, err := range errs {
		if errors.Is(err, class) {
			n++
		}
	}
	return n
}

func TestAFailedCreateLeavesNothing(t *testing.T) {
	d := newDaemon(t)
	d.bundle("keep", spin(), nil)
	s := d.start("keep")
	missing := func() []byte {
		var m wasmtest.Module
		m.ImportFunc("wasi_snapshot_preview1", "sock_foo", m.Type(nil, nil))
		m.Export("_start", wasmtest.KindFunc, m.Func(m.Type(nil, nil)))
		return m.Bytes()
	}()
	for i, test := range []struct {
		name   string
		module []byte
		edit   func(*specs.Spec)
		class  error
		says   []string
	}{
		{"no such file", spin(), args("/other.wasm"), errdefs.ErrNotFound, []string{"/other.wasm"}},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), nil, errdefs.ErrInvalidArgument, []string{"/app.wasm", "component"}},
		{"a marker on what is not Wasm", []byte("#!/bin/sh\n"), annotation("run.oci.handler", "wasm"), errdefs.ErrInvalidArgument, []string{"/app.wasm"}},
		{"an unknown import", missing, nil, errdefs.ErrInvalidArgument, []string{"sock_foo", "docs/"}},
		{"a truncated module", spin()[:20], nil, errdefs.ErrInvalidArgument, []string{"/app.wasm"}},
		{"a missing export", spin(), args("/app.wasm#nope"), errdefs.ErrInvalidArgument, []string{"nope", "_start"}},
		{"a seccomp profile without what a runner needs", spin(), func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno} }, errdefs.ErrInvalidArgument, []string{"linux.seccomp"}},
		{"a mount whose source is missing", spin(), func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "bind", Source: "/nonexistent/source", Options: []string{"bind"}})
		}, nil, []string{"/nonexistent/source"}},
		{"a cwd that is a file", spin(), func(s *specs.Spec) { s.Process.Cwd = "/app.wasm" }, nil, []string{"/app.wasm"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := fmt.Sprint("c", i)
			bundle := d.bundle(id, test.module, test.edit)
			before := names(t, bundle)
			_, err := s.create(id)
			got := errgrpc.ToNative(err)
			if got == nil || test.class != nil && !errors.Is(got, test.class) {
				t.Fatalf("got %v, want class %v", got, test.class)
			}
			for _, says := range test.says {
				if !strings.Contains(got.Error(), says) {
					t.Errorf("%q does not name %q", got, says)
				}
			}
			if strings.Contains(got.Error(), "\n") {
				t.Errorf("more than a line: %q", got)
			}
			if after := names(t, bundle); !slices.Equal(before, after) {
				t.Errorf("left in the bundle: %v, before %v", after, before)
			}
			d.assertNothingLeft()
			if _, err := s.State(context.Background(), &taskapi.StateRequest{ID: id}); !errdefs.IsNotFound(errgrpc.ToNative(err)) {
				t.Errorf("the id is still known: %v", err)
			}
		})
	}
}
