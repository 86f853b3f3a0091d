package provision

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
)

// nativePaths are the sources of programs in C that are not guests as well.
var nativePaths = map[string]string{"load": "test/bench/load/load.c"}

// Native returns the path of a program compiled for this machine, static: a
// guest in C, hello-go, hello-rust or orders-rust, to measure against, or load, the
// client of measurements of servers.
func (s *Store) Native(ctx context.Context, name string) (string, error) {
	switch name {
	case "orders-rust":
		return s.nativeOrders(ctx)
	case "hello-rust":
		return s.nativeRust(ctx, "examples/hello-rust", name)
	case "hello-go":
		return s.nativeGo(ctx, "examples/hello-go", name)
	}
	path := nativePaths[name]
	if path == "" {
		path = s.guestSources()[name].path
	}
	return s.native(ctx, name, path)
}

// Pause returns the path of a static program that does what that of a pause image
// does.
func (s *Store) Pause(ctx context.Context) (string, error) {
	return s.native(ctx, "pause", "test/guests/native/pause.c")
}

// native compiles a C file of the checkout.
func (s *Store) native(ctx context.Context, name, source string) (string, error) {
	if err := s.install(ctx, "clang", "libc6-dev"); err != nil {
		return "", err
	}
	version, err := command{args: []string{"dpkg-query", "-W", "clang", "libc6-dev"}}.run(ctx)
	if err != nil {
		return "", err
	}
	args := []string{"clang", "-O2", "-static", "-s", filepath.Join(s.Checkout, source), "-o"}
	key, err := s.digest(append([]string{version}, args[1:4]...), source)
	if err != nil {
		return "", err
	}
	dir, err := s.entry(ctx, "native-"+name+"-"+key, func(ctx context.Context, dir string) error {
		_, err := command{args: append(args, filepath.Join(dir, name))}.run(ctx)
		return err
	})
	return filepath.Join(dir, name), err
}

// nativeOrders compiles the Rust order service on the crates that those of its
// guest were forked from; see its Cargo.toml.
func (s *Store) nativeOrders(ctx context.Context) (string, error) {
	const path, name = "test/bench/orders-native", "orders-native"
	root, err := s.rust(ctx)
	if err != nil {
		return "", err
	}
	key, err := s.digest([]string{filepath.Base(root)}, path, "examples/orders/rust", "examples/orders/go/page.html")
	if err != nil {
		return "", err
	}
	dir, err := s.entry(ctx, "native-orders-rust-"+key, func(ctx context.Context, dir string) error {
		return s.cargo(ctx, root, filepath.Join(s.Checkout, path), rustTarget(), filepath.Join(dir, name),
			"CARGO_HOME="+filepath.Join(s.Dir, "cargo-home"), "RUSTFLAGS=-Ctarget-feature=+crt-static")
	})
	return filepath.Join(dir, name), err
}

// nativeRust compiles a Cargo package without dependencies.
func (s *Store) nativeRust(ctx context.Context, path, name string) (string, error) {
	root, err := s.rust(ctx)
	if err != nil {
		return "", err
	}
	key, err := s.digest([]string{filepath.Base(root)}, path)
	if err != nil {
		return "", err
	}
	dir, err := s.entry(ctx, "native-"+name+"-"+key, func(ctx context.Context, dir string) error {
		return s.cargo(ctx, root, filepath.Join(s.Checkout, path), rustTarget(), filepath.Join(dir, name),
			"CARGO_HOME="+filepath.Join(s.Dir, "cargo-home"), "CARGO_NET_OFFLINE=true", "RUSTFLAGS=-Ctarget-feature=+crt-static")
	})
	return filepath.Join(dir, name), err
}

// nativeGo compiles a Go package of the checkout.
func (s *Store) nativeGo(ctx context.Context, path, name string) (string, error) {
	compiler, err := command{args: []string{"go", "env", "GOVERSION"}}.run(ctx)
	if err != nil {
		return "", err
	}
	key, err := s.digest([]string{compiler}, path)
	if err != nil {
		return "", err
	}
	dir, err := s.entry(ctx, "native-"+name+"-"+key, func(ctx context.Context, dir string) error {
		_, err := command{
			dir: filepath.Join(s.Checkout, path), env: []string{"CGO_ENABLED=0"},
			args: []string{"go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), "."},
		}.run(ctx)
		return err
	})
	return filepath.Join(dir, name), err
}

// rustTarget is this machine's, for which a static program can be made.
func rustTarget() string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return fmt.Sprintf("%s-unknown-linux-gnu", arch)
}
