package preview1

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
	"time"
)

// addr4 puts an IPv4 address behind an address structure, with room for size
// bytes.
func (g *guest) addr(ip ...byte) {
	g.put(atAddress, atStorage, uint32(len(ip)))
	copy(g.bytesAt(atStorage, 128), ip)
}

func (g *guest) room(size int) {
	g.put(atAddress, atStorage, uint32(size))
	clear(g.bytesAt(atStorage, 128))
}

var (
	loopback4 = []byte{127, 0, 0, 1}
	loopback6 = []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
)

func (g *guest) socket(family, kind int) int {
	g.t.Helper()
	g.ok("sock_open", family, kind, atResult)
	return int(g.u32(atResult))
}

// listener returns a listening socket on the loopback and its port.
func (g *guest) listener() (fd, port int) {
	g.t.Helper()
	fd = g.socket(familyInet4, kindStream)
	g.addr(loopback4...)
	g.ok("sock_bind", fd, atAddress, 0)
	g.ok("sock_listen", fd, 128)
	return fd, g.localPort(fd)
}

func (g *guest) localPort(fd int) int {
	g.t.Helper()
	g.room(128)
	g.ok("sock_getlocaladdr", fd, atAddress, atResult)
	return int(g.u32(atResult))
}

// connection returns both ends of a TCP connection.
func (g *guest) connection() (client, server int) {
	g.t.Helper()
	l, port := g.listener()
	client = g.socket(familyInet4, kindStream)
	g.addr(loopback4...)
	g.ok("sock_connect", client, atAddress, port)
	g.ok("sock_accept", l, 0, atResult)
	server = int(g.u32(atResult))
	g.ok("fd_close", l)
	return client, server
}

func (g *guest) send(fd int, text string) {
	g.t.Helper()
	g.write(atData, text)
	g.iovec(len(text))
	g.ok("sock_send", fd, atIovec, 1, 0, atResult)
}

func (g *guest) recv(fd, size int) string {
	g.t.Helper()
	g.iovec(size)
	g.ok("sock_recv", fd, atIovec, 1, 0, atResult, atOther)
	return string(g.bytesAt(atData, int(g.u32(atResult))))
}

func (g *guest) option(fd, name int) uint32 {
	g.t.Helper()
	g.put(atOther, 4)
	g.ok("sock_getsockopt", fd, levelSocket, name, atResult, atOther)
	return g.u32(atResult)
}

func TestBothFormsOfAddresses(t *testing.T) {
	g := newGuest(t, "")
	client, server := g.connection()
	port := g.localPort(server)

	for _, size := range []int{4, 16} {
		g.room(size)
		g.put(atOther, 0, 0xffff_ffff)
		g.ok("sock_getpeeradd$", client, atAddress, atOther, atOther+4)
		if got := g.bytesAt(atStorage, 16); !bytes.Equal(got[:4], loopback4) || g.u32(atOther) != 4 || g.u32(atOther+4) != uint32(port) {
			t.Errorf("V1 with %d bytes: % x, type %d, port %d; want port %d", size, got, g.u32(atOther), g.u32(atOther+4), port)
		}
	}
	g.room(128)
	g.put(atOther, 0xffff_ffff)
	g.ok("sock_getpeeraddr", client, atAddress, atOther)
	if got := g.bytesAt(atStorage, 6); !bytes.Equal(got, []byte{familyInet4, 0, 127, 0, 0, 1}) || g.u32(atOther) != uint32(port) {
		t.Errorf("V2: % x, port %d", got, g.u32(atOther))
	}
	// Each form refuses the other's buffer, and what is no address at all.
	g.want(errInval, "sock_getpeeradd$", client, atAddress, atOther, atOther+4)
	for _, size := range []int{4, 16, 5, 0} {
		g.room(size)
		g.want(errInval, "sock_getlocaladdr", client, atAddress, atOther)
	}
	// An unbound socket has an address of zeros; nobody is at its other end.
	unbound := g.socket(familyInet4, kindStream)
	g.room(128)
	g.ok("sock_getlocaladdr_v2", unbound, atAddress, atOther)
	if g.u32(atOther) != 0 || !bytes.Equal(g.bytesAt(atStorage, 6), []byte{1, 0, 0, 0, 0, 0}) {
		t.Errorf("unbound: % x, port %d", g.bytesAt(atStorage, 6), g.u32(atOther))
	}
	g.want(53, "sock_getpeeraddr", unbound, atAddress, atOther)
}

func TestIPv6(t *testing.T) {
	g := newGuest(t, "")
	fd := g.socket(familyInet6, kindStream)
	g.addr(loopback6...)
	if e := g.call("sock_bind", fd, atAddress, 0); e == 4 {
		t.Skip("no IPv6 here")
	}
	g.ok("sock_listen", fd, 5)
	port := g.localPort(fd)
	if got := g.bytesAt(atStorage, 18); !bytes.Equal(got, append([]byte{familyInet6, 0}, loopback6...)) {
		t.Errorf("V2: % x", got)
	}
	g.room(16)
	g.ok("sock_getlocaladd$", fd, atAddress, atOther, atOther+4)
	if !bytes.Equal(g.bytesAt(atStorage, 16), loopback6) || g.u32(atOther) != 6 {
		t.Errorf("V1: % x, type %d", g.bytesAt(atStorage, 16), g.u32(atOther))
	}
	g.room(4)
	g.want(errInval, "sock_getlocaladd$", fd, atAddress, atOther, atOther+4)
	// Through the storage form, as Go passes it.
	client := g.socket(familyInet6, kindStream)
	storage := make([]byte, 128)
	storage[0] = familyInet6
	copy(storage[2:], loopback6)
	g.addr(storage...)
	g.ok("sock_connect", client, atAddress, port)
}

func TestConnectWithoutBlocking(t *testing.T) {
	g := newGuest(t, "")
	l, port := g.listener()
	c := g.socket(familyInet4, kindStream)
	g.ok("fd_fdstat_set_flags", c, fdNonblock)
	g.addr(loopback4...)
	if e := g.call("sock_connect", c, atAddress, port); e != 26 && e != success {
		t.Fatalf("connect: %d", e)
	}
	g.sub(0, eventFdWrite, c)
	g.subClock(1, clockMonotonic, 5000*ms, false)
	if e := g.poll(2); len(e) != 1 || e[0].tag != eventFdWrite || e[0].flags != 0 {
		t.Errorf("connected: %+v", e)
	}
	if e := g.option(c, optionError); e != 0 {
		t.Errorf("SO_ERROR is %d", e)
	}
	g.room(128)
	g.ok("sock_getpeeraddr", c, atAddress, atOther)
	g.addr(loopback4...)
	if e := g.call("sock_connect", c, atAddress, port); e != 30 && e != success {
		t.Errorf("connecting again: %d", e)
	}
	g.ok("fd_close", l)

	// Refused.
	c = g.socket(familyInet4, kindStream)
	g.ok("fd_fdstat_set_flags", c, fdNonblock)
	if e := g.call("sock_connect", c, atAddress, port); e != 26 {
		t.Skipf("connecting to a closed port: %d at once", e)
	}
	g.sub(0, eventFdWrite, c)
	g.sub(1, eventFdRead, c)
	if e := g.poll(2); len(e) != 2 || e[0].e != success || e[0].flags != eventHangup || e[1].flags != eventHangup {
		t.Errorf("refused: %+v", e)
	}
	if first, second := g.option(c, optionError), g.option(c, optionError); first != 14 || second != 0 {
		t.Errorf("SO_ERROR is %d, then %d", first, second)
	}
	// A socket that blocks reports it at once.
	c = g.socket(familyInet4, kindStream)
	g.want(14, "sock_connect", c, atAddress, port)
}

func TestOptions(t *testing.T) {
	g := newGuest(t, "")
	tcp, udp := g.socket(familyInet4, kindStream), g.socket(familyInet4, kindDgram)
	if s, d := g.option(tcp, optionType), g.option(udp, optionType); s != 2 || d != 1 {
		t.Errorf("SO_TYPE is %d and %d", s, d)
	}
	// The length by pointer is written back, by value it is not touched.
	g.put(atOther, 100)
	g.ok("sock_getsockopt", tcp, 0, 7, atResult, atOther)
	if g.u32(atOther) != 4 {
		t.Errorf("the length is %d", g.u32(atOther))
	}
	g.put(atResult, 77)
	g.put(4, 0xabcd)
	g.ok("sock_getsockopt", tcp, 0, optionType, atResult, 4)
	if g.u32(atResult) != 2 || g.u32(4) != 0xabcd {
		t.Errorf("by value: %d, and %#x at 4", g.u32(atResult), g.u32(4))
	}
	g.put(atOther, 3)
	g.want(errInval, "sock_getsockopt", tcp, 0, 7, atResult, atOther)
	g.want(errInval, "sock_getsockopt", tcp, 0, 7, atResult, 3)

	for _, name := range []int{0, 3, 4, 5, 6, 7, 8, 10} {
		g.put(atResult, 1)
		g.ok("sock_setsockopt", tcp, 0, name, atResult, 4)
		if g.option(tcp, name) == 0 {
			t.Errorf("option %d stays 0", name)
		}
		g.want(errInval, "sock_setsockopt", tcp, 0, name, atResult, 3)
	}
	for _, name := range []int{optionType, optionError, optionAcceptConn} {
		g.want(errNoprotoopt, "sock_setsockopt", tcp, 0, name, atResult, 4)
	}
	g.put(atResult, 1, 9)
	g.ok("sock_setsockopt", tcp, 0, 9, atResult, 8)
	g.put(atResult, 0, 0)
	g.ok("sock_getsockopt", tcp, 0, 9, atResult, 8)
	if g.u32(atResult) != 1 || g.u32(atResult+4) != 9 {
		t.Errorf("SO_LINGER is %d, %d", g.u32(atResult), g.u32(atResult+4))
	}
	g.want(errPerm, "sock_setsockopt", tcp, 0, optionBindToDevice, atResult, 4)
	g.want(errInval, "sock_getsockopt", tcp, 0, 15, atResult, 4)
	g.want(errInval, "sock_getsockopt", tcp, 1, 1, atResult, 4)
	// Nagle's algorithm is off from the start.
	g.ok("sock_getsockopt", tcp, levelTCP, tcpNoDelay, atResult, 4)
	if g.u32(atResult) != 1 {
		t.Errorf("TCP_NODELAY is %d", g.u32(atResult))
	}
}

func TestTimeoutsOfBlockingCalls(t *testing.T) {
	g := newGuest(t, "")
	client, _ := g.connection()
	l, _ := g.listener()
	udp := g.socket(familyInet4, kindDgram)
	for fd, call := range map[int][]any{
		client: {"sock_recv", client, atIovec, 1, 0, atResult, atOther},
		udp:    {"sock_recv", udp, atIovec, 1, 0, atResult, atOther},
		l:      {"sock_accept", l, 0, atResult},
	} {
		b := g.bytesAt(atData, 16)
		clear(b)
		binary.LittleEndian.PutUint64(b[8:], 50_000)
		g.ok("sock_setsockopt", fd, 0, 11, atData, 16)
		g.iovec(10)
		begin := time.Now()
		g.want(6, call[0].(string), call[1:]...)
		if took := time.Since(begin); took < 40*time.Millisecond || took > time.Second {
			t.Errorf("%v took %v", call, took)
		}
		g.want(errInval, "sock_setsockopt", fd, 0, 11, atData, 8)
	}
}

func TestDatagrams(t *testing.T) {
	g := newGuest(t, "")
	a, b := g.socket(familyInet4, kindDgram), g.socket(familyInet4, kindDgram)
	g.addr(loopback4...)
	g.ok("sock_bind", b, atAddress, 0)
	to := g.localPort(b)
	sendTo := func(text string, address ...byte) {
		t.Helper()
		g.addr(address...)
		g.write(atData, text)
		g.iovec(len(text))
		g.ok("sock_send_to", a, atIovec, 1, atAddress, to, 0, atResult)
	}
	storage := append([]byte{familyInet4, 0, 127, 0, 0, 1}, make([]byte, 122)...)
	sendTo("first", storage...)
	from := g.localPort(a)

	g.room(128)
	g.put(atOther, 0xffff_ffff)
	g.iovec(100)
	g.ok("sock_recv_from", b, atIovec, 1, atAddress, 0, atOther, atResult, atOther+8)
	if got := g.bytesAt(atStorage, 6); !bytes.Equal(got, storage[:6]) || g.u32(atOther) != uint32(from) {
		t.Errorf("V2: % x, port %d, want %d", got, g.u32(atOther), from)
	}
	if got := string(g.bytesAt(atData, int(g.u32(atResult)))); got != "first" {
		t.Errorf("received %q", got)
	}
	// The form of older guests, with both sizes of its buffer.
	sendTo("second", loopback4...)
	g.room(16)
	g.iovec(100)
	g.ok("sock_recv_fro$", b, atIovec, 1, atAddress, 0, atResult, atOther)
	want := binary.LittleEndian.AppendUint16([]byte{2, 0}, uint16(from))
	if got := g.bytesAt(atStorage, 8); !bytes.Equal(got, append(want, loopback4...)) {
		t.Errorf("V1: % x", got)
	}
	sendTo("third", loopback4...)
	g.room(4)
	g.iovec(100)
	g.ok("sock_recv_fro$", b, atIovec, 1, atAddress, 0, atResult, atOther)
	if got := g.bytesAt(atStorage, 4); !bytes.Equal(got, loopback4) {
		t.Errorf("V1 with 4 bytes: % x", got)
	}
	// Peeking takes nothing, and what does not fit is cut.
	sendTo("longer than this", loopback4...)
	for _, flags := range []int{recvPeek, 0} {
		g.iovec(6)
		g.put(atOther, 0xffff_ffff)
		g.ok("sock_recv", b, atIovec, 1, flags, atResult, atOther)
		if got := string(g.bytesAt(atData, 6)); got != "longer" || g.u32(atResult) != 6 || g.u32(atOther) != 0xffff_0001 {
			t.Errorf("%q, %d bytes, flags %#x", got, g.u32(atResult), g.u32(atOther))
		}
	}
	g.want(errInval, "sock_recv", b, atIovec, 1, 4, atResult, atOther)
	g.want(errInval, "sock_send", a, atIovec, 1, 1, atResult)
}

func TestReceiveFromNamesThePeerOfAStream(t *testing.T) {
	g := newGuest(t, "")
	client, server := g.connection()
	port := g.localPort(client)
	g.send(client, "x")
	g.room(128)
	g.iovec(10)
	g.ok("sock_recv_from", server, atIovec, 1, atAddress, 0, atOther, atResult, atOther+8)
	if got := g.bytesAt(atStorage, 6); !bytes.Equal(got, []byte{familyInet4, 0, 127, 0, 0, 1}) || g.u32(atOther) != uint32(port) {
		t.Errorf("% x, port %d", got, g.u32(atOther))
	}
}

func TestPeerIsKnownAfterItsReset(t *testing.T) {
	g := newGuest(t, "")
	l, port := g.listener()
	client := g.socket(familyInet4, kindStream)
	g.put(atResult, 1, 0)
	g.ok("sock_setsockopt", client, 0, 9, atResult, 8)
	g.addr(loopback4...)
	g.ok("sock_connect", client, atAddress, port)
	from := g.localPort(client)
	g.ok("fd_close", client) // With SO_LINGER 0: a reset.
	g.ok("sock_accept", l, 0, atResult)
	server := int(g.u32(atResult))
	g.room(16)
	g.ok("sock_getpeeradd$", server, atAddress, atOther, atOther+4)
	if g.u32(atOther+4) != uint32(from) || !bytes.Equal(g.bytesAt(atStorage, 4), loopback4) {
		t.Errorf("% x, port %d, want %d", g.bytesAt(atStorage, 4), g.u32(atOther+4), from)
	}
}

func TestWhatSockOpenRefuses(t *testing.T) {
	g := newGuest(t, "")
	for _, c := range []struct {
		family, kind int
		e            Errno
	}{{familyUnix, kindStream, errNosys}, {familyUnspec, kindStream, errInval}, {familyInet4, kindAny, errInval}, {4, 2, errInval}, {1, 3, errInval}} {
		g.want(c.e, "sock_open", c.family, c.kind, atResult)
	}
	l, _ := g.listener()
	if e := g.call("sock_shutdown", l, 3); e != success && e != 53 {
		t.Errorf("shutting a listener down: %d", e)
	}
	g.ok("fd_close", l)
	g.want(errBadf, "fd_close", l)
	storage := make([]byte, 128)
	storage[0] = familyUnix
	g.addr(storage...)
	g.want(errAfnosupport, "sock_bind", g.socket(familyInet4, kindStream), atAddress, 1)
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
