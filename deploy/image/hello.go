package main

import "github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"

// helloName is the module in the image, by which a cluster's owner can try the
// installation with the image that is there anyway.
const helloName = "hello.wasm"

// hello is a module that prints a line: fd_write(1, {text}, 1, &written).
func hello() []byte {
	const text, ioVector, written = 16, 0, 8
	line := "WebAssembly runs on this node\n"
	var m wasmtest.Module
	const i32 = wasmtest.I32
	write := m.ImportFunc("wasi_snapshot_preview1", "fd_write", m.Type([]byte{i32, i32, i32, i32}, []byte{i32}))
	start := m.Func(m.Type(nil, nil),
		wasmtest.I32Const(1), wasmtest.I32Const(ioVector), wasmtest.I32Const(1), wasmtest.I32Const(written),
		wasmtest.Call(write), wasmtest.Drop)
	m.Memory(1)
	m.Data(ioVector, []byte{text, 0, 0, 0, byte(len(line)), 0, 0, 0})
	m.Data(text, []byte(line))
	m.Export("memory", wasmtest.KindMemory, 0)
	m.Export("_start", wasmtest.KindFunc, start)
	return m.Bytes()
}
