package wasmtest

import (
	"bytes"
	"slices"
	"strconv"
)

// Hostile are modules that ask much of a compiler, by what they have much of. The
// number says how much; all of them are valid, and grow with it about linearly.
var Hostile = map[string]func(n int) []byte{
	// One function of n additions that depend on each other.
	"one huge function": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			return [][]byte{I32Const(0), bytes.Repeat(slices.Concat(I32Const(1), I32Add), n), Drop}
		})
	},
	// n values that live at the same time.
	"live values": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			return [][]byte{bytes.Repeat(slices.Concat(I32Const(0), I32Load), n), bytes.Repeat(I32Add, n-1), Drop}
		})
	},
	"nested blocks": func(n int) []byte { return command(nested([]byte{0x02, 0x40}, n)) },
	"nested loops":  func(n int) []byte { return command(nested([]byte{0x03, 0x40}, n)) },
	"nested ifs": func(n int) []byte {
		return command(nested(slices.Concat(I32Const(0), I32Load, []byte{0x04, 0x40}), n))
	},
	// n loops in a row, each with a value in a local that changes in it.
	"loops in a row": func(n int) []byte {
		loop := slices.Concat([]byte{0x03, 0x40, 0x20, 0}, I32Const(1), I32Add, []byte{0x22, 0, 0x0d, 0, 0x0b})
		return locals(1, bytes.Repeat(loop, n))
	},
	// n ifs in a row that change locals: n joins of control flow.
	"ifs in a row": func(n int) []byte {
		one := slices.Concat([]byte{0x20, 0, 0x04, 0x40, 0x20, 1}, I32Const(1), I32Add, []byte{0x21, 1, 0x0b})
		return locals(2, bytes.Repeat(one, n))
	},
	"br_table": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			table := slices.Concat([]byte{0x0e}, U32(uint32(n)), bytes.Repeat([]byte{0}, n), []byte{0})
			return [][]byte{{0x02, 0x40}, I32Const(0), I32Load, table, {0x0b}}
		})
	},
	// n tables of n/100 targets each, in blocks within each other.
	"br_tables in blocks": func(n int) []byte {
		targets := max(1, n/100)
		return command(func(*Module) [][]byte {
			var table []byte
			for i := range targets {
				table = append(table, byte(i%100))
			}
			one := slices.Concat(I32Const(0), I32Load, []byte{0x0e}, U32(uint32(targets)), table, []byte{0})
			// A block for each table around the hundred that all of them share.
			shared := slices.Concat(bytes.Repeat([]byte{0x02, 0x40}, 100), one, bytes.Repeat([]byte{0x0b}, 100))
			return [][]byte{bytes.Repeat(shared, 100)}
		})
	},
	// n functions with as many locals as a function may have.
	"locals": func(n int) []byte {
		m := &Module{}
		t := m.Type(nil, nil)
		declaration := slices.Concat([]byte{1}, U32(50_000), []byte{I64})
		start := m.FuncWithLocals(t, declaration)
		for range n {
			m.FuncWithLocals(t, declaration)
		}
		m.Export("_start", KindFunc, start)
		return m.Bytes()
	},
	// A function of 50,000 locals and n loops, in each of which one is used.
	"locals in loops": func(n int) []byte {
		m := &Module{}
		var code []byte
		for i := range n {
			local := U32(uint32(i % 50_000))
			code = slices.Concat(code, []byte{0x03, 0x40, 0x20}, local, []byte{0x04, 0x40, 0x20}, local, []byte{0x21}, U32(uint32((i*7)%50_000)), []byte{0x0c, 1, 0x0b, 0x0b})
		}
		start := m.FuncWithLocals(m.Type(nil, nil), slices.Concat([]byte{1}, U32(50_000), []byte{I32}), code)
		m.Export("_start", KindFunc, start)
		return m.Bytes()
	},
	"functions": func(n int) []byte {
		m := &Module{}
		t := m.Type(nil, nil)
		start := m.Func(t)
		for range n {
			m.Func(t)
		}
		m.Export("_start", KindFunc, start)
		return m.Bytes()
	},
	"calls": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			params := bytes.Repeat([]byte{I64}, 100)
			callee := m.Func(m.Type(params, nil))
			return [][]byte{bytes.Repeat(slices.Concat(bytes.Repeat([]byte{0x42, 0}, 100), Call(callee)), n)}
		})
	},
	"types": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			for i := range n {
				m.Type(bytes.Repeat([]byte{I32}, i%100), []byte{I64}[:i%2])
			}
			return nil
		})
	},
	"wide types": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			for range max(1, n/1000) {
				m.Type(bytes.Repeat([]byte{I32}, 1000), bytes.Repeat([]byte{I64}, 1000))
			}
			return nil
		})
	},
	"imports": func(n int) []byte {
		m := &Module{}
		t := m.Type([]byte{I32}, nil)
		for range n {
			m.ImportFunc(preview1, "proc_exit", t)
		}
		m.Export("_start", KindFunc, m.Func(m.Type(nil, nil)))
		return m.Bytes()
	},
	"exports": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			for i := range n {
				m.Export("f"+strconv.Itoa(i), KindFunc, 0)
			}
			return nil
		})
	},
	"globals": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			m.Raw(6, append(U32(uint32(n)), bytes.Repeat([]byte{I32, 1, 0x41, 0, 0x0b}, n)...))
			return nil
		})
	},
	"a data segment": func(n int) []byte {
		return command(func(m *Module) [][]byte { m.Data(0, make([]byte, n)); return nil })
	},
	"data segments": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			for range n {
				m.Data(0, []byte{1})
			}
			return nil
		})
	},
	"elements": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			m.Raw(4, slices.Concat([]byte{1, 0x70, 0}, U32(uint32(n))))
			m.Raw(9, slices.Concat([]byte{1, 0, 0x41, 0, 0x0b}, U32(uint32(n)), make([]byte, n)))
			return nil
		})
	},
	"custom sections": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			for range n {
				m.Custom("x", nil)
			}
			return nil
		})
	},
	"names": func(n int) []byte {
		return command(func(m *Module) [][]byte {
			for i := range n {
				m.FuncName(uint32(i), "name")
			}
			return nil
		})
	},
}

// command is a module with the code as its entry point.
func command(code func(m *Module) [][]byte) []byte {
	m := &Module{}
	m.Memory(64)
	parts := code(m)
	m.Export("_start", KindFunc, m.Func(m.Type(nil, nil), parts...))
	return m.Bytes()
}

func nested(begin []byte, n int) func(*Module) [][]byte {
	return func(*Module) [][]byte { return [][]byte{bytes.Repeat(begin, n), bytes.Repeat([]byte{0x0b}, n)} }
}

// locals is a command with n locals of type i32.
func locals(n uint32, code []byte) []byte {
	m := &Module{}
	start := m.FuncWithLocals(m.Type(nil, nil), slices.Concat([]byte{1}, U32(n), []byte{I32}), code)
	m.Export("_start", KindFunc, start)
	return m.Bytes()
}
