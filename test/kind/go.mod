module github.com/wasmshim/containerd-shim-wasm/test/kind

go 1.26.6

require (
	github.com/wasmshim/containerd-shim-wasm v0.0.0
	github.com/wasmshim/containerd-shim-wasm/test/cluster v0.0.0
	golang.org/x/sys v0.48.0
)

replace (
	github.com/wasmshim/containerd-shim-wasm => ../..
	github.com/wasmshim/containerd-shim-wasm/test/cluster => ../cluster
)
