package compile

import (
	"os"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/runner/codecache"
)

// What a node has where nothing says otherwise: runtime options for the shim,
// flags for wasmctl.
const (
	// CacheDirEnv overrides the directory for all containers of a daemon.
	CacheDirEnv = "CONTAINERD_SHIM_WASM_CACHE"
	// DefaultCacheSize is how many bytes of compiled code it holds.
	DefaultCacheSize = 10 << 30

	defaultCacheDir = "/var/lib/containerd-shim-wasm/cache"
)

// CacheDir is the node's directory of compiled code.
func CacheDir() string {
	if dir := os.Getenv(CacheDirEnv); dir != "" {
		return dir
	}
	return defaultCacheDir
}

// DefaultLimits are those of one compilation.
func DefaultLimits() control.CompileLimits {
	return control.CompileLimits{Time: 2 * time.Minute, Memory: 2 << 30}
}

// Current tells whether the runner of this machine would use the code of the key,
// or that of another build, engine or CPU.
func Current(k codecache.Key) (bool, error) {
	build, err := Build()
	if err != nil {
		return false, err
	}
	return k == codecache.NewKey(k.Module, engine, build), nil
}
