// Command hello-go is a small guest in Go; its standard library knows WASI.
//
//	GOOS=wasip1 GOARCH=wasm go build -o hello.wasm .
//	wasmctl pack hello.wasm -t localhost/hello-go:1 -o hello.tar
//	ctr images import hello.tar
//	ctr run --rm --runtime io.containerd.wasm.v1 localhost/hello-go:1 hello
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Printf("Hello from Go in WebAssembly! (%s/%s)\n", runtime.GOOS, runtime.GOARCH)
	for i, arg := range os.Args[1:] {
		fmt.Printf("argument %d: %s\n", i+1, arg)
	}
}
