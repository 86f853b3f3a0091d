;; wat2wasm: --enable-memory64
;; A command whose memory has 64-bit addresses.
(module
  (memory (export "memory") i64 1)
  (func (export "_start")))
