package preview1

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Levels of WasmEdge's socket options; that of TCP is an extension that Go's
// guests use, for one option.
const (
	levelSocket = 0
	levelTCP    = 6

	tcpNoDelay = 15
)

// WasmEdge's names of options whose value is not what Linux takes.
const (
	optionType         = 1
	optionError        = 2
	optionAcceptConn   = 13
	optionBindToDevice = 14
)

// option is one option of level 0: its name in Linux and its size, which is the
// same in wasm32 and 64-bit Linux.
type option struct {
	name, size int
	getOnly    bool
}

// options are listed by their number.
var options = [...]option{
	{unix.SO_REUSEADDR, 4, false},
	optionType:  {unix.SO_TYPE, 4, true},
	optionError: {unix.SO_ERROR, 4, true},
	3:           {unix.SO_DONTROUTE, 4, false},
	4:           {unix.SO_BROADCAST, 4, false},
	5:           {unix.SO_SNDBUF, 4, false},
	6:           {unix.SO_RCVBUF, 4, false},
	7:           {unix.SO_KEEPALIVE, 4, false},
	8:           {unix.SO_OOBINLINE, 4, false},
	9:           {unix.SO_LINGER, 8, false},
	10:          {unix.SO_RCVLOWAT, 4, false},
	// Seconds and microseconds, of 64 bits each.
	11:               {unix.SO_RCVTIMEO, 16, false},
	12:               {unix.SO_SNDTIMEO, 16, false},
	optionAcceptConn: {unix.SO_ACCEPTCONN, 4, true},
}

// findOption returns what an option is in Linux.
func findOption(level, name uint32) (kernelLevel int, o option, e Errno) {
	switch {
	case level == levelTCP && name == tcpNoDelay:
		return unix.IPPROTO_TCP, option{unix.TCP_NODELAY, 4, false}, success
	case level == levelSocket && name == optionBindToDevice:
		// It takes a privilege, and the container's network is the Pod's affair.
		return 0, o, errPerm
	case level != levelSocket || name >= uint32(len(options)):
		return 0, o, errInval
	}
	return unix.SOL_SOCKET, options[name], success
}

// maxPlainLength is up to where the last parameter of sock_getsockopt is a
// length: WasmEdge's guests pass a pointer to one there, Go's the length itself,
// with one type for both. No toolchain puts a variable below 1024.
const maxPlainLength = 256

// sock_getsockopt(fd, level, name, value*, length or length*)
func sockGetsockopt(h *Host, s []uint64) Errno {
	d, e := h.socket(s[0])
	if e != success {
		return e
	}
	level, o, e := findOption(uint32(s[1]), uint32(s[2]))
	if e != success {
		return e
	}
	size, byPointer := uint32(s[4]), uint32(s[4]) > maxPlainLength
	if byPointer {
		b, ok := h.bytes(s[4], 4)
		if !ok {
			return errFault
		}
		size = le32(b)
	}
	if size < uint32(o.size) {
		return errInval
	}
	out, ok := h.bytes(s[3], uint64(o.size))
	if !ok {
		return errFault
	}
	value := h.scratch[:o.size]
	if _, e := d.Option(level, o.name, value); e != 0 {
		return errno(e)
	}
	if level == unix.SOL_SOCKET {
		translateOption(o.name, value)
	}
	copy(out, value)
	if byPointer {
		return h.put32(s[4], uint32(o.size))
	}
	return success
}

// translateOption turns a value of Linux into one of WASI.
func translateOption(name int, value []byte) {
	v := binary.LittleEndian.Uint32(value)
	switch name {
	case unix.SO_TYPE:
		v = kindDgram
		if binary.LittleEndian.Uint32(value) == unix.SOCK_STREAM {
			v = kindStream
		}
	case unix.SO_ERROR:
		v = uint32(errno(unix.Errno(v)))
	}
	binary.LittleEndian.PutUint32(value, v)
}

// sock_setsockopt(fd, level, name, value*, length)
func sockSetsockopt(h *Host, s []uint64) Errno {
	d, e := h.socket(s[0])
	if e != success {
		return e
	}
	level, o, e := findOption(uint32(s[1]), uint32(s[2]))
	switch {
	case e != success:
		return e
	case o.getOnly:
		return errNoprotoopt
	case uint32(s[4]) != uint32(o.size):
		return errInval
	}
	value, ok := h.bytes(s[3], s[4])
	if !ok {
		return errFault
	}
	return errno(d.SetOption(level, o.name, value))
}
