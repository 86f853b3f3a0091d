// Package wasmtest writes WebAssembly binaries for tests, so that they need no
// tool besides Go. It encodes what it is told, valid or not.
package wasmtest

import (
	"encoding/binary"
	"slices"
)

// Value types of the binary format.
const (
	I32 byte = 0x7f
	I64 byte = 0x7e
	F32 byte = 0x7d
	F64 byte = 0x7c
)

// Kinds of imports and exports.
const (
	KindFunc   byte = 0
	KindTable  byte = 1
	KindMemory byte = 2
	KindGlobal byte = 3
)

// Module is a module being written; its zero value is the empty module. Types
// and functions are numbered in the order of the calls, and functions must be
// imported before any is defined.
type Module struct {
	types, imports, funcs, memories, exports, codes, datas [][]byte
	customs                                                [][]byte
	start                                                  []byte
	imported, defined                                      uint32
	raw                                                    map[byte][]byte
	names                                                  [][]byte
	name                                                   string
}

// Header is the magic number and the version of a core module.
var Header = []byte("\x00asm\x01\x00\x00\x00")

// ComponentHeader is the magic number, version and layer of a component.
var ComponentHeader = []byte("\x00asm\x0d\x00\x01\x00")

// Type adds a function type and returns its index.
func (m *Module) Type(params, results []byte) uint32 {
	m.types = append(m.types, slices.Concat([]byte{0x60}, sized(params), sized(results)))
	return uint32(len(m.types) - 1)
}

// ImportFunc imports a function of the given type and returns its index.
func (m *Module) ImportFunc(module, name string, typ uint32) uint32 {
	m.Import(module, name, KindFunc, U32(typ))
	m.imported++
	return m.imported - 1
}

// Import adds an import of any kind with its encoded description.
func (m *Module) Import(module, name string, kind byte, desc []byte) {
	m.imports = append(m.imports, slices.Concat(text(module), text(name), []byte{kind}, desc))
}

// Func defines a function of the given type without locals and returns its
// index. The final end is added.
func (m *Module) Func(typ uint32, code ...[]byte) uint32 {
	return m.FuncWithLocals(typ, []byte{0}, code...)
}

// FuncWithLocals is Func with an encoded vector of local declarations.
func (m *Module) FuncWithLocals(typ uint32, locals []byte, code ...[]byte) uint32 {
	m.funcs = append(m.funcs, U32(typ))
	m.codes = append(m.codes, sized(slices.Concat(locals, slices.Concat(code...), []byte{0x0b})))
	m.defined++
	return m.imported + m.defined - 1
}

// Memory defines a memory of min pages, and at most max when given.
func (m *Module) Memory(minPages uint32, maxPages ...uint32) {
	limits := slices.Concat([]byte{byte(len(maxPages))}, U32(minPages))
	if len(maxPages) > 0 {
		limits = append(limits, U32(maxPages[0])...)
	}
	m.memories = append(m.memories, limits)
}

// MemoryLimits defines a memory with encoded limits.
func (m *Module) MemoryLimits(limits []byte) { m.memories = append(m.memories, limits) }

// Export adds an export.
func (m *Module) Export(name string, kind byte, index uint32) {
	m.exports = append(m.exports, slices.Concat(text(name), []byte{kind}, U32(index)))
}

// Data puts bytes into memory 0 at instantiation.
func (m *Module) Data(offset int32, b []byte) {
	m.datas = append(m.datas, slices.Concat([]byte{0}, I32Const(offset), []byte{0x0b}, sized(b)))
}

// Start names the start function.
func (m *Module) Start(fn uint32) { m.start = U32(fn) }

// Custom adds a custom section.
func (m *Module) Custom(name string, content []byte) {
	m.customs = append(m.customs, slices.Concat(text(name), content))
}

// Names sets the module's name in the name section.
func (m *Module) Names(module string) { m.name = module }

// FuncName gives a function a name in the name section; indexes must rise.
func (m *Module) FuncName(fn uint32, name string) {
	m.names = append(m.names, slices.Concat(U32(fn), text(name)))
}

// Raw sets the whole content of the section of that id, in place of what was
// added through other methods.
func (m *Module) Raw(id byte, content []byte) {
	if m.raw == nil {
		m.raw = map[byte][]byte{}
	}
	m.raw[id] = content
}

// Bytes encodes the module.
func (m *Module) Bytes() []byte {
	out := slices.Clone(Header)
	section := func(id byte, content []byte) {
		if raw, ok := m.raw[id]; ok {
			content = raw
		}
		if content != nil {
			out = append(append(out, id), sized(content)...)
		}
	}
	section(1, vector(m.types))
	section(2, vector(m.imports))
	section(3, vector(m.funcs))
	section(4, nil)
	section(5, vector(m.memories))
	section(13, nil)
	section(6, nil)
	section(7, vector(m.exports))
	section(8, m.start)
	section(9, nil)
	section(12, nil)
	section(10, vector(m.codes))
	section(11, vector(m.datas))
	if m.name != "" || m.names != nil {
		names := text("name")
		if m.name != "" {
			names = append(append(names, 0), sized(text(m.name))...)
		}
		if m.names != nil {
			names = append(append(names, 1), sized(vector(m.names))...)
		}
		section(0, names)
	}
	for _, c := range m.customs {
		section(0, c)
	}
	return out
}

func vector(items [][]byte) []byte {
	if items == nil {
		return nil
	}
	return append(U32(uint32(len(items))), slices.Concat(items...)...)
}

func sized(b []byte) []byte { return append(U32(uint32(len(b))), b...) }

func text(s string) []byte { return sized([]byte(s)) }

// U32 is n in LEB128.
func U32(n uint32) []byte { return binary.AppendUvarint(nil, uint64(n)) }
