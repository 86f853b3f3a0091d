package runner

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/wasi"
)

// commandEntry and reactorEntry are the two entry points of the WASI
// application ABI: a command is run by the one; in a reactor the other must be
// called once before any other export.
const (
	commandEntry = "_start"
	reactorEntry = "_initialize"
)

// maxListed is how many imports or exports one sentence names.
const maxListed = 5

// Magic numbers and versions of the two kinds of binaries.
var (
	wasmMagic       = []byte("\x00asm")
	coreHeader      = []byte("\x00asm\x01\x00\x00\x00")
	componentHeader = []byte("\x00asm\x0d\x00\x01\x00")
)

// checkKind refuses what is not a core module by its first bytes.
func checkKind(b []byte, module string) error {
	refuse := func(what string) error {
		return control.Errorf(control.InvalidArgument, "%s %s", module, what)
	}
	switch {
	case len(b) == 0:
		return refuse("is an empty file, not a WebAssembly module; check how the image was built")
	case bytes.HasPrefix(b, coreHeader):
		return nil
	case bytes.HasPrefix(b, componentHeader):
		return refuse("is a WebAssembly component; this runtime runs core modules: build it for wasm32-wasip1, without wasm-tools component new")
	case bytes.HasPrefix(wasmMagic, b) || bytes.HasPrefix(b, wasmMagic) && len(b) < len(coreHeader):
		return refuse("is truncated: it ends within its header; check how the image was built")
	case bytes.HasPrefix(b, wasmMagic) && b[6] != 0:
		return refuse("is WebAssembly of the unknown version " + strconv.Itoa(int(b[4])) + " and layer " + strconv.Itoa(int(b[6])) + ", perhaps a component of an older draft; build it for wasm32-wasip1")
	case bytes.HasPrefix(b, wasmMagic):
		return refuse("is WebAssembly of the unknown version " + strconv.Itoa(int(b[4])) + "; this runtime runs version 1")
	case bytes.HasPrefix(b, []byte("\x7fELF")):
		return refuse("is a native Linux program, not a WebAssembly module; build it for wasm32-wasip1, or run it with the cluster's default RuntimeClass")
	case bytes.HasPrefix(b, []byte("#!")):
		return refuse("is a script, not a WebAssembly module; name the .wasm file in the image's entrypoint")
	case bytes.HasPrefix(bytes.TrimLeft(b[:min(len(b), 256)], " \t\r\n"), []byte("(module")):
		return refuse("is WebAssembly text, not a binary; assemble it with wat2wasm")
	case bytes.HasPrefix(b, []byte("BC\xc0\xde")):
		return refuse("is LLVM bitcode, not a WebAssembly module; link it first")
	}
	return refuse("is not a WebAssembly module: it does not begin with \\0asm; name the .wasm file in the image's entrypoint")
}

// inspect reads a binary and refuses what can never run here. The error is a
// *control.Error whose sentence begins with the module's name.
func inspect(b []byte, module string) (*binaryInfo, error) {
	info, err := read(b, module)
	if err != nil {
		return nil, err
	}
	if err := checkImports(info, module); err != nil {
		return nil, err
	}
	if err := checkTables(info, module); err != nil {
		return nil, err
	}
	return info, nil
}

// read refuses what is not a core module with known features.
func read(b []byte, module string) (*binaryInfo, error) {
	if err := checkKind(b, module); err != nil {
		return nil, err
	}
	info, err := readBinary(b)
	if err != nil {
		return nil, refuseMalformed(module, err)
	}
	return info, nil
}

// checkDeclared refuses what a module declares, in the order in which a container
// would be refused.
func checkDeclared(info *binaryInfo, module, export string) error {
	if err := checkImports(info, module); err != nil {
		return err
	}
	if err := checkTables(info, module); err != nil {
		return err
	}
	if _, err := checkEntry(info, module, export); err != nil {
		return err
	}
	return checkMemory(info, module, maxMemoryPages*pageSize)
}

// checkImports refuses a module that imports what the host does not provide.
func checkImports(info *binaryInfo, module string) error {
	var missing []string
	seen := map[string]bool{} // there may be millions
	var way string
	for _, i := range info.imports {
		name := printable(i.module, maxName) + "." + printable(i.name, maxName)
		provided, ok := wasi.Provides(i.module, variantOf(info, &i))
		if !ok || i.kind != kindFunc {
			if way == "" {
				way = wayOutOfImport(i)
			}
			if !seen[name] {
				seen[name] = true
				missing = append(missing, name)
			}
			continue
		}
		// An index out of range is left for the engine's validation.
		if wanted, ok := declared(info, i.typ); ok && wanted.String() != provided.String() {
			return control.Errorf(control.InvalidArgument,
				"%s imports %s as %s, but this runtime provides it as %s; %s",
				module, name, wanted, provided, wayOutOfSignature(i))
		}
	}
	if len(missing) > 0 {
		return control.Errorf(control.InvalidArgument, "%s imports %s, which this runtime does not provide; %s",
			module, list(missing, maxListed), way)
	}
	return nil
}

func declared(info *binaryInfo, typ uint32) (wasi.Signature, bool) {
	if int64(typ) >= int64(len(info.types)) {
		return wasi.Signature{}, false
	}
	return info.types[typ], true
}

// families are known sets of imports that this runtime does not provide, by
// the module or its prefix, with the way out for each.
var families = []struct{ prefix, way string }{
	{"wasi_unstable", "it was built for WASI preview 0 of 2019: rebuild it with a current toolchain for wasm32-wasip1"},
	{"wasix_", "it was built for WASIX, which only Wasmer runs: rebuild it for wasm32-wasip1"},
	{"wasi_ephemeral_nn", "the WasmEdge and wasmtime plugin wasi-nn is not available here: call an inference server over the network"},
	{"wasi_ephemeral_crypto", "the plugin wasi-crypto is not available here: link a cryptography library into the module"},
	{"wasi_ephemeral", "WASI plugins of WasmEdge and wasmtime are not available here"},
	{"wasi_snapshot_preview2", "it was built for a draft of WASI 0.2: rebuild it for wasm32-wasip1"},
	{"rustls_client", "WasmEdge's TLS plugin is not available here: link a TLS library into the module"},
	{"wasmedge_", "WasmEdge's plugins are not available here: rebuild it without them"},
	{"wasmedge", "WasmEdge's plugins are not available here: rebuild it without them"},
	{"wasi_experimental_http", "WASI's experimental HTTP client is not available here: use sockets"},
	{"spin", "it was built for Spin: rebuild it for wasm32-wasip1 without the Spin SDK"},
	{"fermyon:", "it was built for Spin: rebuild it for wasm32-wasip1 without the Spin SDK"},
	{"outbound-", "it was built for Spin: rebuild it for wasm32-wasip1 without the Spin SDK"},
	{"wasi-outbound-", "it was built for Spin: rebuild it for wasm32-wasip1 without the Spin SDK"},
	{"wasi:", "it is the inner module of a WASI 0.2 component: rebuild it for wasm32-wasip1"},
	{"go", "it was built for the browser: rebuild it with GOOS=wasip1 GOARCH=wasm"},
	{"gojs", "it was built for the browser: rebuild it with GOOS=wasip1 GOARCH=wasm"},
	{"wbg", "it was built for JavaScript by wasm-bindgen: rebuild it for wasm32-wasip1"},
	{"__wbindgen", "it was built for JavaScript by wasm-bindgen: rebuild it for wasm32-wasip1"},
	{"./", "it was built for JavaScript: rebuild it for wasm32-wasip1"},
	{"GOT.", "it is a dynamic library: link it statically"},
}

// wayOutOfImport is what to do about an import that nobody provides.
func wayOutOfImport(i importInfo) string {
	switch {
	case i.kind == kindMemory && i.shared, i.module == "wasi" && i.name == "thread-spawn":
		return "it was built with threads: " + wayOut[featureThreads]
	case i.module == wasi.Preview1 && strings.HasPrefix(i.name, "sock_"):
		return "it is not one of the socket functions of WasmEdge 0.10 to 0.17; rebuild it with a current socket library, or see docs/wasm.md"
	case i.module == wasi.Preview1:
		return "it is not part of WASI preview 1; rebuild it with a current toolchain for wasm32-wasip1"
	case i.module == wasi.Env && (strings.HasPrefix(i.name, "emscripten_") || strings.HasPrefix(i.name, "invoke_") || strings.HasPrefix(i.name, "__syscall") || strings.HasPrefix(i.name, "_emscripten")):
		return "it was built by Emscripten for JavaScript: link it with -sSTANDALONE_WASM, or build it with wasi-sdk"
	case i.module == wasi.Env && i.kind == kindFunc:
		return "a function is missing at link time or was meant for JavaScript: link it in, and do not use -Wl,--allow-undefined"
	case i.module == wasi.Env:
		return "it is a dynamic library or was meant for JavaScript: link it statically for wasm32-wasip1"
	}
	for _, f := range families {
		if i.module == f.prefix || len(f.prefix) > 2 && strings.HasPrefix(i.module, f.prefix) || f.prefix == "./" && strings.HasPrefix(i.module, "./") {
			return f.way
		}
	}
	return "build it for wasm32-wasip1 with nothing but WASI preview 1 imports; see docs/wasm.md"
}

// wayOutOfSignature is what to do about a known import of the wrong type.
func wayOutOfSignature(i importInfo) string {
	if i.module == wasi.Preview1 && strings.HasPrefix(i.name, "sock_") {
		return "it was built with a socket library for WasmEdge before 0.10, or for another host: rebuild it with a current one, such as wasmedge_wasi_socket 0.5"
	}
	if i.module == wasi.Env {
		return "it was built for another host; see docs/wasm.md"
	}
	return "rebuild it with a current toolchain for wasm32-wasip1"
}

// checkEntry refuses a module in which the function to call is absent or cannot
// be called without arguments. It returns the name of that function.
func checkEntry(info *binaryInfo, module, export string) (string, error) {
	name := export
	if name == "" {
		name = commandEntry
	}
	e, ok := info.export(name)
	shown := printable(name, maxName)
	switch {
	case !ok && export == "":
		return "", control.Errorf(control.InvalidArgument, "%s has no function %s to start; %s",
			module, shown, wayOutOfEntry(info))
	case !ok:
		return "", control.Errorf(control.InvalidArgument, "%s exports no function %s; %s",
			module, shown, wayOutOfEntry(info))
	case e.kind != kindFunc:
		return "", control.Errorf(control.InvalidArgument, "%s exports %s as a %s, not as a function; %s",
			module, shown, kindName(e.kind), wayOutOfEntry(info))
	}
	if s, ok := info.signature(e.index); ok && len(s.Params) > 0 {
		return "", control.Errorf(control.InvalidArgument,
			"%s exports %s as %s, but only a function without parameters can be called; pass data through arguments, environment or files",
			module, shown, s)
	}
	// In a reactor _initialize comes first and has the same type.
	if e, ok := info.export(reactorEntry); ok && e.kind == kindFunc && name != commandEntry {
		if s, ok := info.signature(e.index); ok && len(s.Params) > 0 {
			return "", control.Errorf(control.InvalidArgument,
				"%s exports %s as %s, but WASI defines it without parameters; rebuild it with a current toolchain", module, reactorEntry, s)
		}
	}
	return name, nil
}

func wayOutOfEntry(info *binaryInfo) string {
	var names []string
	for _, e := range info.exports {
		if s, ok := info.signature(e.index); e.kind == kindFunc && e.name != reactorEntry && ok && len(s.Params) == 0 {
			names = append(names, printable(e.name, maxName))
		}
	}
	if len(names) == 0 {
		return "it exports no function that can be called without arguments: build it as a command for wasm32-wasip1, not as a library"
	}
	return "functions that can be called are " + list(names, maxListed) + ": name one as module.wasm#function"
}

func kindName(kind byte) string {
	switch kind {
	case kindTable:
		return "table"
	case kindMemory:
		return "memory"
	case kindGlobal:
		return "global"
	}
	return "tag"
}

// checkMemory refuses a module whose declared minimum exceeds the cap in bytes.
func checkMemory(info *binaryInfo, module string, limit uint64) error {
	if info.memory == nil || info.memory.min <= limit/pageSize {
		return nil
	}
	return control.Errorf(control.InvalidArgument,
		"%s declares a memory of at least %s, but the limit for one guest is %s; link it with less initial memory, or raise the limit",
		module, size(info.memory.min*pageSize), size(limit))
}

func size(n uint64) string {
	for _, unit := range []struct {
		n    uint64
		name string
	}{{1 << 30, " GiB"}, {1 << 20, " MiB"}, {1 << 10, " KiB"}} {
		if n >= unit.n {
			return strconv.FormatFloat(float64(n)/float64(unit.n), 'f', -1, 64) + unit.name
		}
	}
	return count(int(n), "bytes")
}

func count(n int, what string) string { return strconv.Itoa(n) + " " + what }
