/*
 * The smallest useful guest in C.
 *
 *   clang --target=wasm32-wasi -O2 -s hello.c -o hello.wasm
 *   wasmctl pack hello.wasm -t localhost/hello-c:1 -o hello.tar
 *   ctr images import hello.tar
 *   ctr run --rm --runtime io.containerd.wasm.v1 localhost/hello-c:1 hello
 *
 * On Debian 12: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32
 */
#include <stdio.h>

int main(int argc, char **argv) {
	printf("Hello from C in WebAssembly!\n");
	for (int i = 1; i < argc; i++)
		printf("argument %d: %s\n", i, argv[i]);
	return 0;
}
