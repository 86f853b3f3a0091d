//! A small guest in Rust.
//!
//!     rustup target add wasm32-wasip1
//!     cargo build --release --target wasm32-wasip1
//!     wasmctl pack target/wasm32-wasip1/release/hello-rust.wasm -t localhost/hello-rust:1 -o hello.tar
//!     ctr images import hello.tar
//!     ctr run --rm --runtime io.containerd.wasm.v1 localhost/hello-rust:1 hello

fn main() {
    println!("Hello from Rust in WebAssembly!");
    for (i, arg) in std::env::args().enumerate().skip(1) {
        println!("argument {i}: {arg}");
    }
}
