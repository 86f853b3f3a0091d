package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// guestSource says how a guest is made of what lies in the checkout.
type guestSource struct {
	// path is a file, or the directory of a Go package or a Cargo package.
	path string
	// also are files outside path that go into the guest.
	also []string
	// compile writes the guest to out.
	compile func(s *Store, ctx context.Context, source, out string) error
	// toolchain names the compiler with its version, for the cache's key.
	toolchain func(s *Store, ctx context.Context) (string, error)
	// flags are the compiler's, part of the key too.
	flags []string
}

// Guest returns the path of a compiled guest. Its name is that of its source:
// hello-c, hello-go, hello-rust, orders-go, orders-rust, probe-c, probe-go,
// probe-rust, grpc-go, applets, blocks, kernels, mio-rust, reactor, server, sockets, stream,
// waits, wasmedge-socket-0-4, wasmedge-socket-0-5, web, or the base name of a .wat
// file in test/guests.
func (s *Store) Guest(ctx context.Context, name string) (string, error) {
	if s.shipped != "" {
		return s.shippedPath("guests/" + name + ".wasm")
	}
	src, ok := s.guestSources()[name]
	if !ok {
		return "", fmt.Errorf("there is no guest %s", name)
	}
	toolchain, err := src.toolchain(s, ctx)
	if err != nil {
		return "", err
	}
	key, err := s.digest(append(src.flags, toolchain), append(src.also, src.path)...)
	if err != nil {
		return "", err
	}
	dir, err := s.entry(ctx, "guest-"+name+"-"+key, func(ctx context.Context, dir string) error {
		return src.compile(s, ctx, filepath.Join(s.Checkout, src.path), filepath.Join(dir, name+".wasm"))
	})
	return filepath.Join(dir, name+".wasm"), err
}

// Guests makes all guests. It returns the cache's directory.
func (s *Store) Guests(ctx context.Context) (string, error) {
	var names []string
	for name := range s.guestSources() {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if _, err := s.Guest(ctx, name); err != nil {
			return "", err
		}
	}
	return s.Dir, nil
}

func (s *Store) guestSources() map[string]guestSource {
	all := map[string]guestSource{
		"hello-c":    cSource("examples/hello-c/hello.c", "-O2", "-s"),
		"hello-go":   goSource("examples/hello-go"),
		"hello-rust": rustSource("examples/hello-rust"),
		"orders-go":  goSource("examples/orders/go"),
		// The page is in the Go package, which cannot embed it from elsewhere.
		"orders-rust": registryRustSource("examples/orders/rust", "examples/orders/go/page.html"),
		// Function names stay in the probe, for the traces of its traps.
		"probe-c":    cSource("test/guests/probe.c", "-O1"),
		"probe-go":   goSource("test/guests/probe-go"),
		"grpc-go":    goSource("test/guests/grpc-go"),
		"probe-rust": rustSource("test/guests/probe-rust"),
		"sockets":    cSource("test/guests/sockets.c", "-O2"),
		"stream":     cSource("test/guests/stream.c", "-O2", "-s"),
		"web":        cSource("test/guests/web.c", "-O2", "-s"),
		"applets":    cSource("test/guests/applets.c", "-O2", "-s"),
		"reactor":    cSource("test/guests/reactor.c", "-O2", "-mexec-model=reactor"),
		"mio-rust":   registryRustSource("test/guests/mio-rust"),
		// One program on two generations of a crate.
		"wasmedge-socket-0-4": registryRustSource("test/guests/wasmedge-socket/0.4", "test/guests/wasmedge-socket/main.rs"),
		"wasmedge-socket-0-5": registryRustSource("test/guests/wasmedge-socket/0.5", "test/guests/wasmedge-socket/main.rs"),
		// What benchmarks compile natively as well.
		"server":  cSource("test/guests/server.c", "-O2", "-s"),
		"blocks":  cSource("test/guests/blocks.c", "-O2", "-s"),
		"kernels": cSource("test/guests/kernels.c", "-O2", "-s"),
		"waits":   cSource("test/guests/waits.c", "-O2", "-s"),
	}
	texts, _ := filepath.Glob(filepath.Join(s.Checkout, "test/guests/*.wat"))
	for _, path := range texts {
		name := strings.TrimSuffix(filepath.Base(path), ".wat")
		all[name] = guestSource{path: "test/guests/" + name + ".wat", compile: compileWat, toolchain: watToolchain}
	}
	return all
}

func cSource(path string, flags ...string) guestSource {
	return guestSource{path: path, flags: flags, toolchain: cToolchain,
		compile: func(_ *Store, ctx context.Context, source, out string) error {
			args := append([]string{"clang", "--target=wasm32-wasi", "-Wall", "-Werror"}, flags...)
			_, err := command{args: append(args, source, "-o", out)}.run(ctx)
			return err
		}}
}

func cToolchain(s *Store, ctx context.Context) (string, error) {
	if err := s.install(ctx, "clang", "lld", "wasi-libc", "libclang-rt-14-dev-wasm32"); err != nil {
		return "", err
	}
	return command{args: []string{"dpkg-query", "-W", "clang", "lld", "wasi-libc"}}.run(ctx)
}

// compileWat reads additional flags of wat2wasm from the first line of a file:
//
//	;; wat2wasm: --enable-memory64
func compileWat(_ *Store, ctx context.Context, source, out string) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	args := []string{"wat2wasm", "--debug-names", source, "-o", out}
	first, _, _ := strings.Cut(string(text), "\n")
	if flags, ok := strings.CutPrefix(first, ";; wat2wasm: "); ok {
		args = append(args, strings.Fields(flags)...)
	}
	_, err = command{args: args}.run(ctx)
	return err
}

func watToolchain(s *Store, ctx context.Context) (string, error) {
	if err := s.install(ctx, "wabt"); err != nil {
		return "", err
	}
	return command{args: []string{"dpkg-query", "-W", "wabt"}}.run(ctx)
}

func goSource(path string) guestSource {
	return guestSource{path: path,
		toolchain: func(_ *Store, ctx context.Context) (string, error) {
			return command{args: []string{"go", "env", "GOVERSION"}}.run(ctx)
		},
		compile: func(_ *Store, ctx context.Context, source, out string) error {
			_, err := command{
				dir:  source,
				env:  []string{"GOOS=wasip1", "GOARCH=wasm"},
				args: []string{"go", "build", "-trimpath", "-o", out, "."},
			}.run(ctx)
			return err
		}}
}
