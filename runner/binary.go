package runner

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/wasmshim/containerd-shim-wasm/wasi"
)

// binaryInfo is what the sections of a core module declare to the outside. It
// is read without an engine, so that a module can be refused in a sentence
// before seconds are spent on its compilation, and because wazero does not show
// imports other than functions and memories.
//
// Only what is read here is checked here; wazero validates the whole module.
type binaryInfo struct {
	types   []wasi.Signature
	imports []importInfo
	// funcs holds the type index of every function, the imported ones first.
	funcs   []uint32
	exports []exportInfo
	// tables are the module's own: imported ones are refused.
	tables tableSection
	// memory is that of index 0, imported or not; nil when there is none.
	memory *memoryInfo
	// data is the data section, if fill writes it; nil when the engine has to.
	data []byte
	// debugLines tells that DWARF line tables are present.
	debugLines bool
	// code is the size of the code section in bytes.
	code int
	// targetFeatures are the features that LLVM's target_features section says
	// are used.
	targetFeatures []string
	// badNames are the names, where they lie in the binary, of name sections
	// that must be hidden from the engine.
	badNames [][]byte
	named    bool
}

type importInfo struct {
	module, name string
	// raw is the name where it lies in the binary.
	raw  []byte
	kind byte
	// typ is the type index of a function.
	typ uint32
	// shared marks a memory that several threads use.
	shared bool
}

type exportInfo struct {
	name string
	kind byte
	// index is in the index space of the kind.
	index uint32
}

// memoryInfo holds limits in pages of 64 KiB.
type memoryInfo struct {
	min, max uint64
}

// Kinds of imports and exports in the binary format.
const (
	kindFunc byte = iota
	kindTable
	kindMemory
	kindGlobal
	kindTag
)

// maxLocals is the limit on locals of one function that every browser and
// wasmtime enforce (WebAssembly JS API, "Implementation-defined limits").
// wazero has none: five bytes would make it allocate gigabytes.
const maxLocals = 50_000

// maxItems is how many types, imports, functions or exports a module may have, by
// the same limits. A count is known before what it counts has been read.
const maxItems = 1_000_000

// maxMemoryPages is what 32 bits address.
const maxMemoryPages = 1 << 16

// unsupported is the error of a module that needs a feature which the engine
// lacks or which is off.
type unsupported struct{ feature string }

func (e unsupported) Error() string { return "uses " + e.feature }

// readBinary reads the declarations of a core module. Its errors are
// unsupported, or say what is malformed.
func readBinary(b []byte) (*binaryInfo, error) {
	info := &binaryInfo{}
	var sections order
	r := &reader{b: b[len(coreHeader):]}
	for !r.empty() {
		id := r.byte()
		sizeAt := len(b) - len(r.b)
		s := &reader{b: r.bytes(r.u32())}
		if r.err != nil {
			return nil, errors.New("it ends in the middle of a section; the file is truncated")
		}
		if id != 0 {
			sections.see(id)
		}
		var err error
		switch id {
		case 0:
			if raw := s.bytes(s.u32()); s.err == nil {
				info.readCustom(raw, s)
				continue
			}
		case 1:
			err = info.readTypes(s)
		case 2:
			err = info.readImports(s)
		case 3:
			for n := s.count(1); n > 0 && s.err == nil; n-- {
				info.funcs = append(info.funcs, s.u32())
			}
		case 4:
			err = info.readTables(s, sizeAt, len(b)-len(r.b)-len(s.b))
		case 5:
			err = info.readMemories(s)
		case 6:
			s.vector(4)
		case 7:
			info.readExports(s)
		case 9:
			err = readElements(s)
		case 10:
			info.code = len(s.b)
			err = readLocals(s)
		case 11:
			err = info.readData(s)
		case 13:
			err = unsupported{featureExceptions}
		}
		if err == nil && s.err != nil {
			err = fmt.Errorf("section %d is malformed: %w", id, s.err)
		}
		if err != nil {
			return nil, err
		}
	}
	// memory.init and data.drop need the segments, and a data count section; what is
	// out of order is left for the engine to refuse.
	if sections.wrong || sections.count || sections.data > 1 {
		info.data = nil
	}
	return info, nil
}

func (info *binaryInfo) readTypes(r *reader) error {
	for n := r.count(1); n > 0 && r.err == nil; n-- {
		switch form := r.byte(); form {
		case 0x60:
		case 0x4e, 0x4f, 0x50, 0x5e, 0x5f: // rec, sub final, sub, array, struct
			return unsupported{featureGC}
		default:
			return fmt.Errorf("a type has the unknown form %#x", form)
		}
		params, err := readValueTypes(r)
		if err != nil {
			return err
		}
		results, err := readValueTypes(r)
		if err != nil {
			return err
		}
		info.types = append(info.types, wasi.Signature{Params: params, Results: results})
	}
	return nil
}

func readValueTypes(r *reader) ([]api.ValueType, error) {
	b := r.bytes(r.u32())
	for _, t := range b {
		if err := checkValueType(t); err != nil {
			return nil, err
		}
	}
	// The caller may unmap the binary.
	return bytes.Clone(b), nil
}

func checkValueType(t byte) error {
	switch t {
	case 0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f: // numbers, v128, funcref, externref
		return nil
	case 0x69, 0x74: // exnref, noexn
		return unsupported{featureExceptions}
	case 0x63, 0x64: // ref null, ref
		return unsupported{featureFunctionReferences}
	case 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x71, 0x72, 0x73: // array … nofunc
		return unsupported{featureGC}
	}
	return fmt.Errorf("a type contains the unknown value type %#x", t)
}

func (info *binaryInfo) readImports(r *reader) error {
	for n := r.count(4); n > 0 && r.err == nil; n-- {
		i := importInfo{module: r.name(), raw: r.bytes(r.u32()), kind: r.byte()}
		i.name = validText(i.raw)
		switch i.kind {
		case kindFunc:
			i.typ = r.u32()
			info.funcs = append(info.funcs, i.typ)
		case kindTable:
			if err := checkValueType(r.byte()); err != nil {
				return err
			}
			if _, _, err := readLimits(r); err != nil {
				return err
			}
		case kindMemory:
			m, shared, err := readLimits(r)
			if err != nil {
				return err
			}
			if info.memory == nil {
				info.memory = m
			}
			i.shared = shared
		case kindGlobal:
			if err := checkValueType(r.byte()); err != nil {
				return err
			}
			r.byte()
		case kindTag:
			return unsupported{featureExceptions}
		default:
			if r.err == nil {
				return fmt.Errorf("an import has the unknown kind %#x", i.kind)
			}
		}
		if r.err == nil {
			info.imports = append(info.imports, i)
		}
	}
	return nil
}

func (info *binaryInfo) readMemories(r *reader) error {
	n := r.u32()
	for i := n; i > 0 && r.err == nil; i-- {
		m, shared, err := readLimits(r)
		if err != nil {
			return err
		}
		if shared {
			return unsupported{featureThreads}
		}
		if info.memory != nil {
			return unsupported{featureMultiMemory}
		}
		info.memory = m
	}
	return nil
}

// Flags of limits: threads proposal, memory64 proposal, custom page sizes.
const (
	limitsHasMax   = 1
	limitsShared   = 2
	limits64       = 4
	limitsPageSize = 8
)

func readLimits(r *reader) (m *memoryInfo, shared bool, err error) {
	flags := r.byte()
	switch {
	case r.err != nil:
		return nil, false, nil
	case flags&limits64 != 0:
		return nil, false, unsupported{featureMemory64}
	case flags&limitsPageSize != 0:
		return nil, false, unsupported{featurePageSizes}
	case flags > limitsHasMax|limitsShared:
		return nil, false, fmt.Errorf("limits have the unknown flags %#x", flags)
	}
	m = &memoryInfo{min: uint64(r.u32()), max: maxMemoryPages}
	if flags&limitsHasMax != 0 {
		m.max = min(uint64(r.u32()), maxMemoryPages)
	}
	return m, flags&limitsShared != 0, nil
}

func (info *binaryInfo) readExports(r *reader) {
	for n := r.count(3); n > 0 && r.err == nil; n-- {
		e := exportInfo{name: r.name(), kind: r.byte(), index: r.u32()}
		if r.err == nil {
			info.exports = append(info.exports, e)
		}
	}
}

func readLocals(r *reader) error {
	for n := r.vector(1); n > 0 && r.err == nil; n-- {
		body := &reader{b: r.bytes(r.u32())}
		var sum uint64
		for groups := body.u32(); groups > 0 && body.err == nil; groups-- {
			sum += uint64(body.u32())
			// A heap type follows the prefix of a typed reference; wazero reads it.
			if t := body.byte(); t == 0x63 || t == 0x64 {
				return unsupported{featureFunctionReferences}
			}
			if sum > maxLocals {
				return fmt.Errorf("a function declares more than %d locals", maxLocals)
			}
		}
	}
	return nil
}

// readCustom reads what is of use of a custom section. Nothing in it can make a
// module invalid.
func (info *binaryInfo) readCustom(name []byte, s *reader) {
	switch string(name) {
	case ".debug_line":
		info.debugLines = true
	case "target_features":
		info.readTargetFeatures(s)
	case "name":
		// The engine takes one of them.
		if info.named || !wellFormedNames(s) {
			info.badNames = append(info.badNames, name)
			return
		}
		info.named = true
	}
}

// readTargetFeatures reads a section that serves messages only (tool
// conventions, "Target features section"), so nothing about it is an error.
func (info *binaryInfo) readTargetFeatures(r *reader) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		used := r.byte() == '+'
		if name := r.name(); used && r.err == nil {
			info.targetFeatures = append(info.targetFeatures, name)
		}
	}
}

// signature returns the type of a function, if the module declares it.
func (info *binaryInfo) signature(fn uint32) (wasi.Signature, bool) {
	if int64(fn) >= int64(len(info.funcs)) || int64(info.funcs[fn]) >= int64(len(info.types)) {
		return wasi.Signature{}, false
	}
	return info.types[info.funcs[fn]], true
}

func (info *binaryInfo) export(name string) (exportInfo, bool) {
	for _, e := range info.exports {
		if e.name == name {
			return e, true
		}
	}
	return exportInfo{}, false
}

var errShort = errors.New("it ends early")

// reader reads the binary format; its first error stays, and what is read after
// it is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) empty() bool { return len(r.b) == 0 || r.err != nil }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail(errShort)
		return 0
	}
	b := r.b[0]
	r.b = r.b[1:]
	return b
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// count reads how many items follow, of at least size bytes each.
func (r *reader) count(size int) uint32 {
	n := r.vector(size)
	if n > maxItems {
		r.fail(fmt.Errorf("it has %d items, more than %d", n, maxItems))
		return 0
	}
	return n
}

// u32 reads an unsigned LEB128 of at most five bytes.
func (r *reader) u32() uint32 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // as most are
		b := r.b[0]
		r.b = r.b[1:]
		return uint32(b)
	}
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v > 0xffff_ffff {
				break
			}
			return uint32(v)
		}
	}
	r.fail(errors.New("a number is too long"))
	return 0
}

func (r *reader) name() string { return validText(r.bytes(r.u32())) }

func validText(b []byte) string { return string(bytes.ToValidUTF8(b, []byte("\ufffd"))) }
