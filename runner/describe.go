package runner

import (
	"slices"

	"github.com/wasmshim/containerd-shim-wasm/wasi"
)

// Description is what a core module declares. Names in it are made fit for a
// terminal, and at most maxDescribed of them are listed.
type Description struct {
	// Entry is the function that would be called; empty when there is none.
	Entry string `json:"entry,omitempty"`
	// Imports are grouped by what provides them, those that nobody provides first.
	Imports []ImportGroup `json:"imports"`
	Exports Names         `json:"exports"`
	// Memory is the linear memory; nil when there is none.
	Memory *Limits `json:"memory,omitempty"`
	// Tables counts the elements of all tables together.
	Tables *Limits `json:"tables,omitempty"`
	// Features are those that the compiler says it used (tool conventions,
	// "Target features section").
	Features Names `json:"features"`
	// DebugLines tells that traps name lines of the source.
	DebugLines bool `json:"debugLines"`
}

// ImportGroup is the imports that one part of the host provides.
type ImportGroup struct {
	// Provider is its name; empty when nobody provides them.
	Provider string `json:"provider"`
	// Standard tells that every host of WASI provides them.
	Standard bool `json:"standard"`
	Names
}

// Names is a list that may be cut.
type Names struct {
	Count int      `json:"count"`
	Names []string `json:"names"`
}

// Limits are in bytes for a memory, in elements for tables.
type Limits struct {
	Min uint64 `json:"min"`
	// Max is what it can grow to here.
	Max uint64 `json:"max"`
}

// maxDescribed bounds each list of names: a module may have a million.
const maxDescribed = 1000

func (n *Names) add(name string) {
	if n.Count++; len(n.Names) < maxDescribed {
		n.Names = append(n.Names, printable(name, maxName))
	}
}

// Describe tells what a binary declares, and why it could not run here, as far as
// that is known without compiling it. export is the function to call, empty for
// _start. The description is nil when the binary cannot be read; the error is a
// *control.Error whose sentence begins with the name.
func Describe(binary []byte, name, export string) (*Description, error) {
	info, err := read(binary, name)
	if err != nil {
		return nil, err
	}
	d := &Description{Imports: groupImports(info), DebugLines: info.lines()}
	for _, e := range info.exports {
		d.Exports.add(e.name)
	}
	for _, f := range info.targetFeatures {
		d.Features.add(f)
	}
	if m := info.memory; m != nil {
		d.Memory = &Limits{Min: m.min * pageSize, Max: m.max * pageSize}
	}
	if tables := info.tables.tables; len(tables) > 0 {
		d.Tables = &Limits{}
		for _, t := range tables {
			d.Tables.Min += t.min
			d.Tables.Max += t.max
		}
		d.Tables.Max = min(d.Tables.Max, maxTableElements)
	}
	if entry, err := checkEntry(info, name, export); err == nil {
		d.Entry = printable(entry, maxName)
	}
	return d, checkDeclared(info, name, export)
}

// groupImports groups in the order in which the providers come first, but for
// what nobody provides.
func groupImports(info *binaryInfo) []ImportGroup {
	var groups []ImportGroup
	for _, i := range info.imports {
		provider := ""
		if wanted, ok := declared(info, i.typ); ok && i.kind == kindFunc {
			if s, ok := wasi.Provides(i.module, variantOf(info, &i)); ok && s.String() == wanted.String() {
				provider = wasi.Provider(i.module, i.name, len(wanted.Params))
			}
		}
		at := slices.IndexFunc(groups, func(g ImportGroup) bool { return g.Provider == provider })
		if at < 0 {
			at = len(groups)
			groups = append(groups, ImportGroup{Provider: provider, Standard: provider == wasi.ByPreview1})
		}
		groups[at].add(i.module + "." + i.name)
	}
	slices.SortStableFunc(groups, func(a, b ImportGroup) int {
		switch {
		case a.Provider == "" && b.Provider != "":
			return -1
		case b.Provider == "" && a.Provider != "":
			return 1
		}
		return 0
	})
	return groups
}
