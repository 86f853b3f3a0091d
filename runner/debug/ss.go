package debug

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// maxOwners bounds how many sockets ss -p knows the processes of.
const maxOwners = 1 << 14

// socket is one line of /proc/net/tcp and its like.
type socket struct {
	state            uint64
	local, peer      string
	received, unsent uint64 // bytes in the queues
	inode            uint64
}

// States of include/net/tcp_states.h, under the names of ss.
const (
	stateEstablished = 1
	stateListen      = 10
)

func (s socket) stateName(udp bool) string {
	if udp && s.state != stateEstablished {
		return "UNCONN"
	}
	names := strings.Fields(`- ESTAB SYN-SENT SYN-RECV FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT CLOSED CLOSE-WAIT
		LAST-ACK LISTEN CLOSING NEW-SYN-RECV`)
	if s.state < uint64(len(names)) {
		return names[s.state]
	}
	return utoa(s.state)
}

// ss shows the sockets of the container's network namespace, which in a Pod is
// that of all its containers. Unlike its namesake it shows listening sockets
// without being asked: they are what people look for here.
func ss(c *call) int {
	o, operands, ok := c.options("tulanp46", "")
	if !ok || !c.noOperands(operands) {
		return exitUsage
	}
	var owners map[uint64]string
	if o.has('p') {
		owners = c.socketOwners()
	}
	c.print("Netid State      Recv-Q Send-Q ", padRight("Local Address:Port", 25), " ", padRight("Peer Address:Port", 25))
	if o.has('p') {
		c.print(" Process")
	}
	c.print("\n")
	for _, table := range []struct {
		file     string
		wanted   bool
		optional bool // IPv6 may be switched off
	}{
		{"tcp", wants(o, 't', 'u') && wants(o, '4', '6'), false},
		{"tcp6", wants(o, 't', 'u') && wants(o, '6', '4'), true},
		{"udp", wants(o, 'u', 't') && wants(o, '4', '6'), false},
		{"udp6", wants(o, 'u', 't') && wants(o, '6', '4'), true},
	} {
		if !table.wanted {
			continue
		}
		if table.optional {
			if _, err := os.Lstat(c.proc + "/self/net/" + table.file); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		kind := table.file[:3]
		udp := kind == "udp"
		ok := c.table("net/"+table.file, func(line string) {
			s, ok := parseSocket(line)
			if !ok || o.has('l') && !s.listens(udp) {
				return
			}
			c.print(padRight(kind, 5), " ", padRight(s.stateName(udp), 10), " ",
				padLeft(utoa(s.received), 6), " ", padLeft(utoa(s.unsent), 6), " ",
				padRight(s.local, 25), " ")
			if o.has('p') {
				c.print(padRight(s.peer, 25), " ", printable(owners[s.inode]), "\n")
			} else {
				c.print(s.peer, "\n")
			}
		})
		if !ok {
			break // the other tables will be missing too
		}
	}
	return 0
}

// wants says whether what a letter selects is shown: without both letters, all.
func wants(o options, letter, other byte) bool { return o.has(letter) || !o.has(other) }

func (s socket) listens(udp bool) bool {
	return s.state == stateListen || udp && s.state != stateEstablished
}

// parseSocket reads a line as proc_net_tcp has it in the kernel's
// documentation. The title has no number in its first field.
func parseSocket(line string) (socket, bool) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return socket{}, false
	}
	local, ok := parseAddress(f[1])
	peer, ok2 := parseAddress(f[2])
	state, err := strconv.ParseUint(f[3], 16, 8)
	unsent, received, ok3 := strings.Cut(f[4], ":")
	if !ok || !ok2 || !ok3 || err != nil {
		return socket{}, false
	}
	s := socket{state: state, local: local, peer: peer}
	s.unsent, _ = strconv.ParseUint(unsent, 16, 64)
	s.received, _ = strconv.ParseUint(received, 16, 64)
	s.inode, _ = strconv.ParseUint(f[9], 10, 64)
	return s, true
}

// parseAddress turns 0100007F:0050 into 127.0.0.1:80. The kernel prints each
// word of 32 bits of an address, which is in network order, as a number.
func parseAddress(s string) (string, bool) {
	host, portText, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	port, err2 := strconv.ParseUint(portText, 16, 16)
	if !ok || err != nil || err2 != nil {
		return "", false
	}
	for i := 0; i+4 <= len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	var text string
	switch len(b) {
	case 4:
		text = ipv4(b)
	case 16:
		text = "[" + ipv6(b) + "]"
	default:
		return "", false
	}
	if port == 0 {
		return text + ":*", true
	}
	return text + ":" + utoa(port), true
}

// ipv4 and ipv6 do what net/netip would, which brings in far more than this.
func ipv4(b []byte) string {
	return utoa(uint64(b[0])) + "." + utoa(uint64(b[1])) + "." + utoa(uint64(b[2])) + "." + utoa(uint64(b[3]))
}

// ipv6 leaves out the first of the longest runs of zeros, of two words at least
// (RFC 5952, section 4.2).
func ipv6(b []byte) string {
	if mapped := [12]byte{10: 0xff, 11: 0xff}; string(b[:12]) == string(mapped[:]) {
		return "::ffff:" + ipv4(b[12:])
	}
	word := func(i int) uint16 { return binary.BigEndian.Uint16(b[2*i:]) }
	gap, length := 8, 1
	for i := 0; i < 8; i++ {
		n := 0
		for i+n < 8 && word(i+n) == 0 {
			n++
		}
		if n > length {
			gap, length = i, n
		}
		i += n
	}
	var text []byte
	for i := 0; i < 8; i++ {
		if i == gap {
			text = append(text, "::"...)
			i += length - 1
			continue
		}
		if i > 0 && i != gap+length {
			text = append(text, ':')
		}
		text = strconv.AppendUint(text, uint64(word(i)), 16)
	}
	return string(text)
}

// socketOwners finds which process holds which socket. Those whose descriptors
// cannot be looked at, as of another user, are missing.
func (c *call) socketOwners() map[uint64]string {
	owners := map[uint64]string{}
	each(c.proc, func(pid string) {
		if _, err := strconv.Atoi(pid); err != nil {
			return
		}
		dir := c.proc + "/" + pid
		name := ""
		each(dir+"/fd", func(fd string) {
			target, err := os.Readlink(dir + "/fd/" + fd)
			if err != nil || len(owners) == maxOwners {
				return
			}
			digits, ok := strings.CutPrefix(target, "socket:[")
			inode, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 64)
			if !ok || err != nil {
				return
			}
			if name == "" {
				comm, _ := readSome(dir+"/comm", 64)
				name = strings.TrimSuffix(string(comm), "\n") + "," + pid
			}
			owners[inode] = name
		})
	})
	return owners
}

// each calls do with the names in a directory, if it can be read.
func each(dir string, do func(name string)) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(512)
		for _, name := range names {
			do(name)
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}
