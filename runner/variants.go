package runner

import "github.com/wasmshim/containerd-shim-wasm/wasi"

// linkVariants makes the imports of a binary name the variants that they mean
// (wasi.Variant), in place, and hides its damaged name sections. It comes before
// compiling, so that the key of the compiled code covers it.
func linkVariants(info *binaryInfo) {
	for i := range info.imports {
		f := &info.imports[i]
		if variant := variantOf(info, f); f.kind == kindFunc && len(variant) == len(f.raw) {
			copy(f.raw, variant)
		}
	}
	for _, name := range info.badNames {
		copy(name, "nam$")
	}
}

// variantOf is the name under which the host provides an import.
func variantOf(info *binaryInfo, i *importInfo) string {
	wanted, ok := declared(info, i.typ)
	if !ok {
		return i.name
	}
	return wasi.Variant(i.module, i.name, len(wanted.Params))
}
