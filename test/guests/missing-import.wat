;; A command that needs a function which no host provides.
(module
  (import "wasi_snapshot_preview1" "sock_foo" (func $foo (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $foo (i32.const 1)))))
