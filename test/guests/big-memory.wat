;; Declares the largest memory that Wasm allows as its minimum: 4 GiB.
(module
  (memory (export "memory") 65536)
  (func (export "_start")))
