;; wat2wasm: --enable-multi-memory
;; A command with two memories.
(module
  (memory (export "memory") 1)
  (memory 1)
  (func (export "_start")))
