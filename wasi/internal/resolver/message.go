package resolver

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Types and codes of DNS (RFC 1035 and 3596).
const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
	classIN   = 1

	headerSize   = 12
	flagResponse = 1 << 15
	flagTruncate = 1 << 9
	flagRecurse  = 1 << 8

	rcodeNone     = 0
	rcodeNotFound = 3
)

// question encodes a query. The name is a domain (isDomain).
func question(id uint16, name string, kind uint16) []byte {
	b := make([]byte, headerSize, headerSize+len(name)+6)
	binary.BigEndian.PutUint16(b[0:], id)
	binary.BigEndian.PutUint16(b[2:], flagRecurse)
	binary.BigEndian.PutUint16(b[4:], 1)
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, kind)
	return binary.BigEndian.AppendUint16(b, classIN)
}

// answer is what a server says to one question.
type answer struct {
	rcode     int
	truncated bool
	addrs     []netip.Addr
}

// maxChain bounds how many aliases are followed.
const maxChain = 16

// parseAnswer reads the answer to a question with that id. It reports false for
// what is not one.
func parseAnswer(b []byte, id uint16, name string, kind uint16) (a answer, ok bool) {
	if len(b) < headerSize || binary.BigEndian.Uint16(b) != id {
		return a, false
	}
	flags := binary.BigEndian.Uint16(b[2:])
	if flags&flagResponse == 0 || binary.BigEndian.Uint16(b[4:]) != 1 {
		return a, false
	}
	asked, at, ok := readName(b, headerSize)
	if !ok || asked != name || at+4 > len(b) || binary.BigEndian.Uint16(b[at:]) != kind || binary.BigEndian.Uint16(b[at+2:]) != classIN {
		return a, false
	}
	a.rcode, a.truncated = int(flags&0xf), flags&flagTruncate != 0
	alias := map[string]string{}
	addrs := map[string][]netip.Addr{}
	at += 4
	for range binary.BigEndian.Uint16(b[6:]) {
		r, next, ok := readRecord(b, at)
		if !ok {
			// What came before is true all the same.
			a.truncated = true
			break
		}
		at = next
		switch {
		case r.class != classIN:
		case r.kind == typeCNAME:
			if target, _, ok := readName(b, r.data); ok {
				alias[r.name] = target
			}
		case r.kind == kind && r.size == addressSize(kind):
			if ip, ok := netip.AddrFromSlice(b[r.data : r.data+r.size]); ok {
				addrs[r.name] = append(addrs[r.name], ip)
			}
		}
	}
	for range maxChain {
		a.addrs = append(a.addrs, addrs[name]...)
		target, more := alias[name]
		if !more || len(a.addrs) > 0 {
			break
		}
		name = target
	}
	return a, true
}

// addressSize is how many bytes a record of that type has.
func addressSize(kind uint16) int {
	if kind == typeA {
		return 4
	}
	return 16
}

// record is a resource record, with where its data lies.
type record struct {
	name        string
	kind, class uint16
	data, size  int
}

func readRecord(b []byte, at int) (r record, next int, ok bool) {
	if r.name, at, ok = readName(b, at); !ok || at+10 > len(b) {
		return r, 0, false
	}
	r.kind, r.class = binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:])
	r.size = int(binary.BigEndian.Uint16(b[at+8:]))
	r.data = at + 10
	next = r.data + r.size
	return r, next, next <= len(b)
}

// readName reads a name, perhaps compressed, in lower case and without a dot at
// its end, and returns where it ends.
func readName(b []byte, at int) (name string, end int, ok bool) {
	var s strings.Builder
	end = -1
	for jumps := 0; ; {
		if at >= len(b) {
			return "", 0, false
		}
		size := int(b[at])
		switch {
		case size == 0:
			if end < 0 {
				end = at + 1
			}
			return strings.ToLower(s.String()), end, true
		case size&0xc0 == 0xc0:
			if at+1 >= len(b) || jumps >= maxChain {
				return "", 0, false
			}
			if end < 0 {
				end = at + 2
			}
			at = (size&0x3f)<<8 | int(b[at+1])
			jumps++
		case size > 63 || at+1+size > len(b) || s.Len()+1+size > 254:
			return "", 0, false
		default:
			if s.Len() > 0 {
				s.WriteByte('.')
			}
			s.Write(b[at+1 : at+1+size])
			at += 1 + size
		}
	}
}
