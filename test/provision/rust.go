package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// rustPackages are Debian's current Rust. It has no ready-made standard library
// for Wasm, but its source with all crates, so that Cargo builds it offline.
// They conflict with Debian's older rustc, so they are unpacked, not installed.
var rustPackages = []string{"rustc-web", "cargo-web", "rust-web-src", "libstd-rust-web-dev"}

// threadStubs is what Rust's standard library links even where no thread can be
// made, and Debian's wasi-libc lacks. 58 is ENOTSUP.
const threadStubs = `
int pthread_attr_init(void *a) { return 0; }
int pthread_attr_setstacksize(void *a, unsigned long n) { return 0; }
int pthread_attr_destroy(void *a) { return 0; }
int pthread_detach(void *t) { return 0; }
int pthread_create(void *t, void *a, void *f, void *x) { return 58; }
int pthread_join(void *t, void *r) { return 58; }
`

// rust returns the root directory of an unpacked Rust toolchain that can link
// for wasm32-wasip1.
func (s *Store) rust(ctx context.Context) (string, error) {
	// The host's linker is for build scripts.
	if err := s.install(ctx, "gcc", "libc6-dev", "clang", "lld", "llvm", "wasi-libc"); err != nil {
		return "", err
	}
	version, err := s.candidate(ctx, rustPackages[0])
	if err != nil {
		return "", err
	}
	key, err := s.digest([]string{threadStubs})
	if err != nil {
		return "", err
	}
	return s.entry(ctx, fmt.Sprintf("debian-rust-%s-%s-%s", version, runtime.GOARCH, key), func(ctx context.Context, dir string) error {
		packages, err := withMissingDependencies(ctx, rustPackages...)
		if err != nil {
			return err
		}
		if err := unpack(ctx, dir, packages...); err != nil {
			return err
		}
		return addWasiLibc(ctx, dir)
	})
}

// addWasiLibc gives the toolchain Debian's wasi-libc where rustc expects the
// one of its own distribution.
func addWasiLibc(ctx context.Context, root string) error {
	dir := filepath.Join(root, "usr/lib/rustlib/wasm32-wasip1/lib/self-contained")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"crt1-command.o", "crt1-reactor.o", "libc.a"} {
		b, err := os.ReadFile(filepath.Join("/usr/lib/wasm32-wasi", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	stubs := filepath.Join(dir, "thread-stubs.c")
	if err := os.WriteFile(stubs, []byte(threadStubs), 0o644); err != nil {
		return err
	}
	for _, c := range []command{
		{dir: dir, args: []string{"clang", "--target=wasm32-wasi", "-O2", "-c", stubs}},
		{dir: dir, args: []string{"llvm-ar", "r", "libc.a", "thread-stubs.o"}},
	} {
		if _, err := c.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

func rustSource(path string) guestSource {
	return guestSource{path: path, compile: (*Store).cargoBuild, toolchain: (*Store).rust}
}

// registryRustSource is a package that has dependencies: those that its
// Cargo.lock names, from the registry.
func registryRustSource(path string, also ...string) guestSource {
	return guestSource{path: path, also: also, compile: (*Store).cargoBuildFromRegistry, toolchain: (*Store).rust}
}

// cargoBuild compiles a Cargo package without dependencies, offline.
func (s *Store) cargoBuild(ctx context.Context, source, out string) error {
	root, err := s.rust(ctx)
	if err != nil {
		return err
	}
	home, err := os.MkdirTemp(filepath.Dir(out), ".cargo-home-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	config := fmt.Sprintf("[source.crates-io]\nreplace-with = %q\n[source.vendored]\ndirectory = %q\n",
		"vendored", filepath.Join(root, "usr/lib/rustlib/src/rust/library/vendor"))
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o644); err != nil {
		return err
	}
	return s.cargo(ctx, root, source, wasmTarget, out, "CARGO_HOME="+home, "CARGO_NET_OFFLINE=true")
}

// cargoBuildFromRegistry compiles a Cargo package with its dependencies. What is
// downloaded stays in the cache; Cargo locks it.
func (s *Store) cargoBuildFromRegistry(ctx context.Context, source, out string) error {
	root, err := s.rust(ctx)
	if err != nil {
		return err
	}
	return s.cargo(ctx, root, source, wasmTarget, out,
		"CARGO_HOME="+filepath.Join(s.Dir, "cargo-home"),
		// For crates with parts in C. Debian's clang has its headers under this
		// target's older name.
		"CC_wasm32_wasip1=clang",
		"AR_wasm32_wasip1=llvm-ar",
		"CFLAGS_wasm32_wasip1=--target=wasm32-wasi",
	)
}

const wasmTarget = "wasm32-wasip1"

// cargo compiles the Cargo package whose binary has the name of out, for a
// target. All packages share one target directory, so that the
// standard library is compiled once; Cargo locks it.
func (s *Store) cargo(ctx context.Context, root, source, target, out string, env ...string) error {
	shared := filepath.Join(s.Dir, "target-"+filepath.Base(root))
	libs := []string{filepath.Join(root, "usr/lib")}
	// Dependencies that this machine lacked were unpacked along.
	multiarch, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if err != nil {
		return err
	}
	libs = append(libs, multiarch...)
	build := command{
		dir: source,
		env: append([]string{
			"CARGO_TARGET_DIR=" + shared,
			"CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld",
			"LD_LIBRARY_PATH=" + strings.Join(libs, ":"),
			"RUSTC=" + filepath.Join(root, "usr/bin/rustc"),
			"RUSTC_BOOTSTRAP=1", // allows -Z on a release
		}, env...),
		args: []string{filepath.Join(root, "usr/bin/cargo"), "build", "--quiet", "--locked",
			"--release", "--target", target},
	}
	if target == wasmTarget {
		build.args = append(build.args, "-Zbuild-std=std,panic_abort")
	}
	if _, err := build.run(ctx); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(shared, target, "release", filepath.Base(out)))
	if err != nil {
		return err
	}
	return os.WriteFile(out, b, 0o755)
}
