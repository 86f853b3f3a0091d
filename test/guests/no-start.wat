;; Neither a command nor a reactor: one export of its own name.
(module
  (memory (export "memory") 1)
  (func (export "other")))
