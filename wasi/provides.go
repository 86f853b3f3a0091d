package wasi

import (
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/preview1"
)

// Preview1 is the import module of WASI 0.1, which WasmEdge's sockets share.
const Preview1 = "wasi_snapshot_preview1"

// Signature is the type of a host function.
type Signature struct {
	Params  []api.ValueType
	Results []api.ValueType
}

// String writes the signature as messages show it: (i32, i64) -> (i32).
func (s Signature) String() string {
	return "(" + typeNames(s.Params) + ") -> (" + typeNames(s.Results) + ")"
}

func typeNames(types []api.ValueType) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = api.ValueTypeName(t)
	}
	return strings.Join(names, ", ")
}

// Provides returns the signature of a function that a guest may import, and
// whether there is such a function. It costs no engine, so that a module can be
// refused before it is compiled.
func Provides(module, name string) (Signature, bool) {
	var code string
	switch module {
	case Preview1:
		code = preview1.Signature(name)
	case Env:
		code = env[name].signature
	}
	return decode(code), code != ""
}

// Variant returns the name under which the host provides an import of so many
// parameters: four functions of WasmEdge exist with two types under one name,
// and one guest may import both, because its standard library and its socket
// library each have their own. The engine resolves imports by name alone, so
// that a guest has to be rewritten where this is not the name that it uses. The
// name has the same length, for that to be easy.
func Variant(module, name string, params int) string {
	if module != Preview1 || name == "" {
		return name
	}
	variant := name[:len(name)-1] + "$"
	if older := decode(preview1.Signature(variant)); older.Results != nil && len(older.Params) == params {
		return variant
	}
	return name
}

// decode expands the compact form of the tables: one letter per parameter, then
// a colon, then one per result.
func decode(code string) Signature {
	if code == "" {
		return Signature{}
	}
	params, results, _ := strings.Cut(code, ":")
	return Signature{Params: valueTypes(params), Results: valueTypes(results)}
}

func valueTypes(letters string) []api.ValueType {
	types := make([]api.ValueType, len(letters))
	for i := range types {
		switch letters[i] {
		case 'i':
			types[i] = api.ValueTypeI32
		case 'I':
			types[i] = api.ValueTypeI64
		case 'F':
			types[i] = api.ValueTypeF64
		}
	}
	return types
}

// ByPreview1 is what Provider says of an import that every host of WASI provides.
const ByPreview1 = "WASI preview 1"

const (
	bySockets  = "WasmEdge sockets"
	bySockets1 = "WasmEdge sockets V1"
	bySockets2 = "WasmEdge sockets V2"
	byEnv      = "AssemblyScript and Emscripten"
)

// Provider names the part of the host that provides an import of so many
// parameters; empty when nobody does. WasmEdge's functions exist in two
// generations, and what is not of one of them is of both.
func Provider(module, name string, params int) string {
	variant := Variant(module, name, params)
	if s, ok := Provides(module, variant); !ok || len(s.Params) != params {
		return ""
	}
	switch {
	case module == Env:
		return byEnv
	case variant != name, strings.HasSuffix(name, "$"):
		return bySockets1
	case strings.HasSuffix(name, "_v2"):
		return bySockets2
	}
	switch name {
	case "sock_recv_from", "sock_getlocaladdr", "sock_getpeeraddr":
		return bySockets2
	case "sock_accept", "sock_recv", "sock_send", "sock_shutdown":
		return ByPreview1
	case "epoll_oneoff":
		return bySockets
	}
	if strings.HasPrefix(name, "sock_") {
		return bySockets
	}
	return ByPreview1
}
