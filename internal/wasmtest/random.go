package wasmtest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// Random is a valid module of random functions over random control flow, so that
// a compiler sees more than what people write. It grows with n about linearly.
func Random(r *rand.Rand, n int) []byte {
	m := &Module{}
	m.Memory(uint32(1 + r.IntN(4)))
	if r.IntN(2) == 0 {
		m.Data(int32(r.IntN(1000)), make([]byte, r.IntN(5000)))
	}
	functions := 1 + r.IntN(20)
	for range functions {
		t := m.Type(bytes.Repeat([]byte{I32}, r.IntN(12)), []byte{I32})
		// Parameters have the first numbers: those are sure to be there, too.
		g := &generator{r: r, locals: uint32(1 + r.IntN(300)), left: n / functions}
		m.FuncWithLocals(t, slices.Concat([]byte{1}, U32(g.locals), []byte{I32}), g.value())
	}
	m.Export("_start", KindFunc, m.Func(m.Type(nil, nil)))
	return m.Bytes()
}

// generator makes expressions that leave one i32.
type generator struct {
	r      *rand.Rand
	locals uint32
	left   int // about how many instructions are still to come
}

// Instructions that take two i32 and leave one.
var i32Binary = []byte{0x46, 0x48, 0x4f, 0x6a, 0x6b, 0x6c, 0x6d, 0x70, 0x71, 0x72, 0x73, 0x74, 0x77}

// Detours of an i32 through another type: to and fro.
var i32Detours = [][]byte{
	{0xac, 0x7b, 0xa7},                               // i64.extend_i32_s, i64.popcnt, i32.wrap_i64
	{0xb2, 0x91, 0xfc, 0x00},                         // f32.convert_i32_s, f32.sqrt, i32.trunc_sat_f32_s
	{0xb7, 0x9b, 0xfc, 0x02},                         // f64.convert_i32_s, f64.ceil, i32.trunc_sat_f64_s
	{0xfd, 0x11, 0xfd, 0xa1, 0x01, 0xfd, 0x1b, 0x01}, // i32x4.splat, i32x4.neg, i32x4.extract_lane 1
	{0xfd, 0x0f, 0xfd, 0x60, 0xfd, 0x16, 0x07},       // i8x16.splat, i8x16.abs, i8x16.extract_lane_u 7
	{0xc0}, {0x67}, {0x69}, {0x45}, {0x28, 2, 0}, {0x2d, 0, 4}, // sign extension, bits, test, loads
}

func (g *generator) value() []byte {
	g.left--
	if g.left <= 0 {
		return I32Const(int32(g.r.Uint32()))
	}
	local := U32(g.r.Uint32N(g.locals))
	switch g.r.IntN(12) {
	case 0:
		return I32Const(int32(g.r.Uint32()))
	case 1:
		return append([]byte{0x20}, local...) // local.get
	case 2:
		return slices.Concat(g.value(), []byte{0x22}, local) // local.tee
	case 3, 4:
		return slices.Concat(g.value(), g.value(), []byte{i32Binary[g.r.IntN(len(i32Binary))]})
	case 5:
		return slices.Concat(g.value(), i32Detours[g.r.IntN(len(i32Detours))])
	case 6:
		return slices.Concat(g.value(), []byte{0x04, I32}, g.value(), []byte{0x05}, g.value(), []byte{0x0b}) // if else
	case 7:
		return slices.Concat(g.value(), g.value(), g.value(), []byte{0x1b}) // select
	case 8:
		return slices.Concat(g.value(), g.value(), I32Store, g.value())
	default:
		return slices.Concat(g.statement(), g.value())
	}
}

// statement leaves nothing.
func (g *generator) statement() []byte {
	kind := []byte{0x02, 0x03}[g.r.IntN(2)] // block, loop
	var body []byte
	for range 1 + g.r.IntN(4) {
		switch g.r.IntN(4) {
		case 0:
			body = slices.Concat(body, g.value(), []byte{0x0d, 0}) // br_if
		case 1:
			targets := g.r.IntN(40)
			body = slices.Concat(body, []byte{0x02, 0x40}, g.value(), []byte{0x0e}, U32(uint32(targets)),
				bytes.Repeat([]byte{0}, targets), []byte{0, 0x0b}) // br_table
		case 2:
			body = slices.Concat(body, g.value(), []byte{0x21}, U32(g.r.Uint32N(g.locals))) // local.set
		default:
			body = slices.Concat(body, g.value(), Drop)
		}
	}
	return slices.Concat([]byte{kind, 0x40}, body, []byte{0x0b})
}

// Mutate changes a module at random places, in ways that break its syntax, its
// validity, or neither.
func Mutate(r *rand.Rand, module []byte) []byte {
	b := bytes.Clone(module)
	for range 1 + r.IntN(8) {
		if len(b) == 0 {
			return b
		}
		at := r.IntN(len(b))
		end := at + r.IntN(min(len(b)-at, 64)+1)
		switch r.IntN(9) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b[at] = byte(r.Uint32())
		case 2:
			b = b[:at]
		case 3:
			b = slices.Delete(b, at, end)
		case 4: // the same again
			b = slices.Insert(b, at, b[at:end]...)
		case 5: // part of another place
			from := r.IntN(len(b))
			copy(b[at:end], b[from:])
		case 6: // a giant number
			b = slices.Replace(b, at, end, U32(r.Uint32())...)
		case 7: // a number in more bytes than it needs
			b = slices.Replace(b, at, end, 0x80, 0x80, 0x80, 0x80, byte(r.IntN(0x20)))
		case 8: // a section more
			b = append(b, byte(r.IntN(16)))
			b = append(b, binary.AppendUvarint(nil, uint64(r.Uint32N(1000)))...)
			b = append(b, b[at:end]...)
		}
	}
	return b
}
