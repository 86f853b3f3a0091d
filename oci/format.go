package oci

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// MaxModuleSize is the largest module that is accepted, in bytes. The largest
// that are known (language runtimes, inference engines) have some 100 MiB; the
// limit keeps a broken image from filling the node's memory with a compiler.
const MaxModuleSize = 512 << 20

// headerSize is how much of a file its format is decided by: the Wasm magic
// and version (core specification 5.5.16) are 8 bytes, the rest is for
// describing files that are something else.
const headerSize = 64

// format is what the first bytes of a file say it is.
type format struct {
	// wasm: it starts with the Wasm magic.
	wasm bool
	// core: it is a core module of the one version that exists.
	core bool
	// component: it is a component (layer 1 of the binary format).
	component bool
	// name describes it with its article, such as "an ELF program".
	name string
}

// sniff decides what a file is by its first bytes.
func sniff(header []byte) format {
	if bytes.HasPrefix(header, []byte("\x00asm")) {
		if len(header) < 8 {
			return format{wasm: true, name: "a WebAssembly file that ends within its header"}
		}
		// The component model split the version field in two: a version and a
		// layer, of which 0 is core and 1 is component.
		version, layer := binary.LittleEndian.Uint16(header[4:]), binary.LittleEndian.Uint16(header[6:])
		switch {
		case version == 1 && layer == 0:
			return format{wasm: true, core: true, name: "a WebAssembly module"}
		case layer == 1:
			return format{wasm: true, component: true, name: "a WebAssembly component"}
		default:
			return format{wasm: true, name: fmt.Sprintf("a WebAssembly file of unknown version %d, layer %d", version, layer)}
		}
	}
	for _, f := range []struct{ prefix, name string }{
		{"\x7fELF", "an ELF program"},
		{"#!", "a #! script"},
		{"\x00aot", "a module compiled ahead of time for WAMR"},
		{"BC\xc0\xde", "LLVM bitcode"},
		{"\x1f\x8b", "a gzip file"},
		{"\x28\xb5\x2f\xfd", "a zstd file"},
		{"PK\x03\x04", "a zip file"},
		{"!<arch>\n", "an ar archive"},
		{"MZ", "a Windows program"},
	} {
		if bytes.HasPrefix(header, []byte(f.prefix)) {
			return format{name: f.name}
		}
	}
	text := bytes.TrimLeft(header, " \t\r\n")
	switch {
	case len(header) == 0:
		return format{name: "an empty file"}
	case bytes.HasPrefix(text, []byte("(module")), bytes.HasPrefix(text, []byte("(component")), bytes.HasPrefix(text, []byte(";;")):
		return format{name: "WebAssembly text"}
	case isText(header):
		return format{name: "a text file"}
	default:
		return format{name: fmt.Sprintf("an unknown file (first bytes % x)", header[:min(len(header), 8)])}
	}
}

// isText reports whether header reads as UTF-8 text. A rune that the end of
// the header cuts off does not count against it.
func isText(header []byte) bool {
	for len(header) > 0 {
		r, n := utf8.DecodeRune(header)
		if r == utf8.RuneError && n == 1 {
			return !utf8.FullRune(header)
		}
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		header = header[n:]
	}
	return true
}

// check returns nil when the file called name, of this format and of size
// bytes, is a module that this runtime can run, or why not.
func (f format) check(name string, size int64) error {
	switch {
	case f.component:
		return control.Errorf(control.InvalidArgument,
			"%s is a WebAssembly component; this runtime runs core modules for now; build for wasm32-wasip1 instead of wasip2", name)
	case !f.core:
		return control.Errorf(control.InvalidArgument,
			"%s is %s, not a WebAssembly module; %s", name, f.name, f.wayOut())
	case size > MaxModuleSize:
		return control.Errorf(control.InvalidArgument,
			"%s has %d MiB, more than the %d MiB that a module may have; strip its debug information or move its data into files",
			name, size>>20, int64(MaxModuleSize)>>20)
	}
	return nil
}

func (f format) wayOut() string {
	switch f.name {
	case "WebAssembly text":
		return "translate it with wat2wasm or wasm-tools parse"
	case "a module compiled ahead of time for WAMR":
		return "use the module that it was compiled from"
	}
	if f.wasm {
		return "build it again as a core module of version 1"
	}
	return "build it for the target wasm32-wasip1"
}

// CheckModule returns nil when r holds size bytes of what its header says is a
// core module that this runtime can run. Otherwise the error is a
// *control.Error of class InvalidArgument which calls the file name. It reads
// the header only: what is behind it is the engine's to validate.
func CheckModule(name string, r io.ReaderAt, size int64) error {
	f, err := sniffAt(r)
	if err != nil {
		return control.Errorf(control.Internal, "read %s: %w", name, err)
	}
	return f.check(name, size)
}

func sniffAt(r io.ReaderAt) (format, error) {
	header := make([]byte, headerSize)
	n, err := r.ReadAt(header, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return format{}, err
	}
	return sniff(header[:n]), nil
}
