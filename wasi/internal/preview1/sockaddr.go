package preview1

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
)

// storageSize is that of an address with its family; a shorter buffer is as
// long as the bare address that it holds.
const storageSize = 128

// addressBuffer returns what an address structure points to.
func (h *Host) addressBuffer(address uint64) ([]byte, Errno) {
	b, ok := h.bytes(address, 8)
	if !ok {
		return nil, errFault
	}
	buf, ok := h.bytes(uint64(le32(b)), uint64(le32(b[4:])))
	switch {
	case !ok:
		return nil, errFault
	case len(buf) != 4 && len(buf) != 16 && len(buf) != storageSize:
		return nil, errInval
	}
	return buf, success
}

// address reads an address that a guest passes, with its port beside it.
func (h *Host) address(a *descriptor.Address, address, port uint64) Errno {
	buf, e := h.addressBuffer(address)
	if e != success {
		return e
	}
	if len(buf) == storageSize {
		switch binary.LittleEndian.Uint16(buf) {
		case familyInet4:
			buf = buf[2:6]
		case familyInet6:
			buf = buf[2:18]
		default:
			return errAfnosupport
		}
	}
	a.Size = copy(a.IP[:], buf)
	a.Port = uint16(port)
	return success
}

// putStorage writes an address with its family.
func putStorage(buf []byte, a *descriptor.Address) {
	var family uint16
	switch a.Size {
	case 4:
		family = familyInet4
	case 16:
		family = familyInet6
	}
	binary.LittleEndian.PutUint16(buf, family)
	copy(buf[2:], a.IP[:a.Size])
}

// sock_getlocaladdr(fd, addr*, port*)
func sockGetlocaladdr(h *Host, s []uint64) Errno { return h.storeAddress(s, false) }

// sock_getpeeraddr(fd, addr*, port*)
func sockGetpeeraddr(h *Host, s []uint64) Errno { return h.storeAddress(s, true) }

func (h *Host) storeAddress(s []uint64, peer bool) Errno {
	var a descriptor.Address
	buf, e := h.getAddress(s[0], s[1], peer, &a)
	if e != success {
		return e
	}
	if len(buf) != storageSize {
		return errInval
	}
	putStorage(buf, &a)
	return h.put32(s[2], uint32(a.Port))
}

// sock_getlocaladdr(fd, addr*, type*, port*) of WasmEdge's crates.
func sockGetlocaladdrV1(h *Host, s []uint64) Errno { return h.storeAddressV1(s, false) }

// sock_getpeeraddr(fd, addr*, type*, port*) of WasmEdge's crates.
func sockGetpeeraddrV1(h *Host, s []uint64) Errno { return h.storeAddressV1(s, true) }

// storeAddressV1 stores the bare address, and as its type 4 or 6: older crates
// understand nothing else.
func (h *Host) storeAddressV1(s []uint64, peer bool) Errno {
	var a descriptor.Address
	buf, e := h.getAddress(s[0], s[1], peer, &a)
	if e != success {
		return e
	}
	if len(buf) == storageSize || len(buf) < a.Size {
		return errInval
	}
	version := uint32(4)
	if a.Size == 16 {
		version = 6
	}
	if e := h.put32(s[2], version); e != success {
		return e
	}
	copy(buf, a.IP[:a.Size])
	return h.put32(s[3], uint32(a.Port))
}

// getAddress asks for the local address or the peer's, and returns the buffer
// that it shall go to.
func (h *Host) getAddress(slot, address uint64, peer bool, a *descriptor.Address) ([]byte, Errno) {
	d, e := h.socket(slot)
	if e != success {
		return nil, e
	}
	buf, e := h.addressBuffer(address)
	if e != success {
		return nil, e
	}
	var failed unix.Errno
	if peer {
		failed = d.Peer(a)
	} else {
		failed = d.Local(a)
	}
	switch {
	case failed != 0:
		return nil, errno(failed)
	case a.Size == 0:
		// A stream that was inherited may be a socket of another family.
		return nil, errNotsup
	}
	return buf, success
}
