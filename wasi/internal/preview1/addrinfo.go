package preview1

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/resolver"
)

// Errors of sock_getaddrinfo, which WasmEdge numbers after those of WASI.
const (
	eaiAgain   Errno = 78
	eaiFamily  Errno = 81
	eaiMemory  Errno = 82
	eaiNoname  Errno = 84
	eaiService Errno = 85
)

// Flags of hints.
const (
	aiPassive     = 1
	aiNumerichost = 4
)

// Protocols.
const (
	protocolIP  = 0
	protocolTCP = 1
	protocolUDP = 2
)

// hints are what a guest wants of an address.
type hints struct {
	flags                  uint16
	family, kind, protocol uint8
}

// sock_getaddrinfo(node, node_len, service, service_len, hints*, res**, max_res, res_len*).
// The results go into a list that the guest has made.
func sockGetaddrinfo(h *Host, s []uint64) Errno {
	node, ok1 := h.text(s[0], s[1])
	service, ok2 := h.text(s[2], s[3])
	head, ok3 := h.bytes(s[5], 4)
	if !ok1 || !ok2 || !ok3 || !h.fits(s[7], 4) {
		return errFault
	}
	var want hints
	if uint32(s[4]) != 0 {
		b, ok := h.bytes(s[4], 8)
		if !ok {
			return errFault
		}
		want = hints{binary.LittleEndian.Uint16(b), b[2], b[3], b[4]}
	}
	if node == "" && service == "" {
		return eaiNoname
	}
	if uint32(s[6]) == 0 {
		return eaiMemory
	}
	port, ok := servicePort(service)
	if !ok {
		return eaiService
	}
	if e := want.complete(); e != success {
		return e
	}
	first := le32(head)
	addrs, e := h.lookup(node, want)
	if e != success {
		return e
	}
	n, e := h.putAddresses(first, uint32(s[6]), addrs, port, want)
	if e != success {
		return e
	}
	if n == 0 {
		return eaiNoname
	}
	return h.put32(s[7], n)
}

// maxNode exceeds every name that can be resolved.
const maxNode = 1024

// text reads a string up to its first NUL, which guests count in its length, and
// not more of it than makes any name. It is a copy.
func (h *Host) text(address, size uint64) (string, bool) {
	b, ok := h.bytes(address, size)
	b, _, _ = bytes.Cut(b[:min(len(b), maxNode)], []byte{0})
	return string(b), ok
}

// servicePort returns a service's port. Guests of WasmEdge always ask for http,
// and put their port in afterwards.
func servicePort(service string) (uint16, bool) {
	switch service {
	case "":
		return 0, true
	case "http":
		return 80, true
	case "https":
		return 443, true
	}
	n, err := strconv.ParseUint(service, 10, 16)
	return uint16(n), err == nil
}

// complete checks the type and protocol, and infers the one from the other.
// Where a guest has no wish, one result of TCP stands for all.
func (w *hints) complete() Errno {
	if w.family > familyInet6 {
		return eaiFamily
	}
	switch {
	case w.kind == kindAny && w.protocol == protocolUDP:
		w.kind = kindDgram
	case w.kind == kindAny:
		w.kind = kindStream
	}
	switch {
	case w.kind == kindDgram && (w.protocol == protocolIP || w.protocol == protocolUDP):
		w.protocol = protocolUDP
	case w.kind == kindStream && (w.protocol == protocolIP || w.protocol == protocolTCP):
		w.protocol = protocolTCP
	default:
		return errNosys
	}
	return success
}

// lookup resolves a node; none means this host.
func (h *Host) lookup(node string, want hints) ([]netip.Addr, Errno) {
	families := resolver.Families{IPv4: want.family != familyInet6, IPv6: want.family != familyInet4}
	if node == "" {
		v4, v6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
		if want.flags&aiPassive != 0 {
			v4, v6 = netip.IPv4Unspecified(), netip.IPv6Unspecified()
		}
		var addrs []netip.Addr
		if families.IPv4 {
			addrs = append(addrs, v4)
		}
		if families.IPv6 {
			addrs = append(addrs, v6)
		}
		return addrs, success
	}
	if _, err := netip.ParseAddr(node); err != nil && want.flags&aiNumerichost != 0 {
		return nil, eaiNoname
	}
	addrs, err := h.resolver.Lookup(node, families)
	switch err {
	case nil:
		return addrs, success
	case resolver.ErrTryAgain:
		return nil, eaiAgain
	}
	return nil, eaiNoname
}

// Layout of addrinfo and of its sockaddr.
const (
	addrinfoSize = 28
	sockaddrSize = 12

	// dataInet4 is what guests make room for; they read a port and an address.
	dataInet4 = 14
	minInet4  = 6
	dataInet6 = 18
)

// putAddresses fills a list of at most maxNodes nodes from its first, and
// returns how many it filled. It writes nothing but what a node has room for:
// guests leave ai_canonname dangling.
func (h *Host) putAddresses(node, maxNodes uint32, addrs []netip.Addr, port uint16, want hints) (uint32, Errno) {
	le := binary.LittleEndian
	var n uint32
	for _, a := range addrs {
		if node == 0 || n == maxNodes {
			break
		}
		info, ok := h.bytes(uint64(node), addrinfoSize)
		if !ok {
			return n, errFault
		}
		sockaddr, ok := h.bytes(uint64(le.Uint32(info[12:])), sockaddrSize)
		if !ok {
			return n, errFault
		}
		room := le.Uint32(sockaddr[4:])
		family, addrLen, size, least := byte(familyInet4), uint32(16), uint32(dataInet4), uint32(minInet4)
		if a.Is6() {
			family, addrLen, size, least = familyInet6, 28, dataInet6, dataInet6
		}
		if room < least {
			continue
		}
		data, ok := h.bytes(uint64(le.Uint32(sockaddr[8:])), uint64(min(room, size)))
		if !ok {
			return n, errFault
		}
		clear(data)
		binary.BigEndian.PutUint16(data, port)
		copy(data[2:], a.AsSlice())
		sockaddr[0] = family
		le.PutUint32(sockaddr[4:], uint32(len(data)))
		le.PutUint16(info, 0)
		info[2], info[3] = family, want.kind
		le.PutUint32(info[4:], uint32(want.protocol))
		le.PutUint32(info[8:], addrLen)
		le.PutUint32(info[20:], 0)
		node = le.Uint32(info[24:])
		n++
	}
	return n, success
}
