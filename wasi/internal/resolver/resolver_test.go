package resolver

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a name server on the loopback, over UDP and TCP.
type server struct {
	t *testing.T
	// zone maps "name type" to what the answer holds: addresses, "CNAME name",
	// "SERVFAIL", "TRUNCATE" (over UDP only), "SILENCE" or "FORGE" (a wrong
	// answer first).
	zone map[string][]string
	port uint16

	mu    sync.Mutex
	asked []string
}

func newServer(t *testing.T, zone map[string][]string) *server {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := udp.LocalAddr().(*net.UDPAddr).Port
	tcp, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = udp.Close(); _ = tcp.Close() })
	s := &server{t: t, zone: zone, port: uint16(port)}
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			for _, m := range s.answers(b[:n], "udp") {
				_, _ = udp.WriteTo(m, from)
			}
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			var size [2]byte
			_, _ = io.ReadFull(c, size[:])
			q := make([]byte, binary.BigEndian.Uint16(size[:]))
			_, _ = io.ReadFull(c, q)
			for _, m := range s.answers(q, "tcp") {
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
			}
			_ = c.Close()
		}
	}()
	return s
}

func (s *server) answers(q []byte, over string) [][]byte {
	name, at, ok := readName(q, headerSize)
	if !ok {
		s.t.Errorf("a malformed question: % x", q)
		return nil
	}
	kind := map[uint16]string{typeA: "A", typeAAAA: "AAAA"}[binary.BigEndian.Uint16(q[at:])]
	s.mu.Lock()
	s.asked = append(s.asked, over+" "+name+" "+kind)
	s.mu.Unlock()
	records, known := s.zone[name+" "+kind]
	m := slices.Clone(q)
	flags := uint16(flagResponse | flagRecurse | 1<<7)
	if !known {
		flags |= rcodeNotFound
		for k := range s.zone {
			if strings.HasPrefix(k, name+" ") {
				flags &^= rcodeNotFound
			}
		}
	}
	var count uint16
	owner := []byte{0xc0, headerSize}
	var before [][]byte
	for _, r := range records {
		var data []byte
		rtype := binary.BigEndian.Uint16(q[at:])
		switch target, alias := strings.CutPrefix(r, "CNAME "); {
		case r == "SILENCE":
			return nil
		case r == "SERVFAIL":
			flags |= 2
			continue
		case r == "TRUNCATE" && over == "udp":
			flags |= flagTruncate
			continue
		case r == "TRUNCATE":
			continue
		case r == "FORGE":
			wrong := slices.Clone(q)
			wrong[0] ^= 1
			wrong[2] |= 0x80
			before = append(before, wrong, []byte("junk"), nil)
			continue
		case alias:
			data, rtype = encodeName(target), typeCNAME
		default:
			data = netip.MustParseAddr(r).AsSlice()
		}
		m = append(m, owner...)
		m = binary.BigEndian.AppendUint16(m, rtype)
		m = append(m, 0, classIN, 0, 0, 0, 1)
		m = append(binary.BigEndian.AppendUint16(m, uint16(len(data))), data...)
		if rtype == typeCNAME {
			owner = data
		}
		count++
	}
	binary.BigEndian.PutUint16(m[2:], flags)
	binary.BigEndian.PutUint16(m[6:], count)
	return append(before, m)
}

func encodeName(name string) []byte {
	q := question(0, name, typeA)
	return q[headerSize : len(q)-4]
}

// resolver configures a resolver with these files.
func (s *server) resolver(hosts, conf string) *Resolver {
	s.t.Helper()
	dir := s.t.TempDir()
	r := &Resolver{Hosts: filepath.Join(dir, "hosts"), Conf: filepath.Join(dir, "resolv.conf"), Port: s.port}
	for path, text := range map[string]string{r.Hosts: hosts, r.Conf: conf} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	return r
}

const local = "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n"

func TestLookup(t *testing.T) {
	s := newServer(t, map[string][]string{
		"plain.example A":                       {"10.0.0.1", "10.0.0.2"},
		"plain.example AAAA":                    {"fd00::1"},
		"alias.example A":                       {"CNAME target.example", "10.0.0.3"},
		"long.example A":                        {"TRUNCATE", "10.0.0.4"},
		"forged.example A":                      {"FORGE", "10.0.0.5"},
		"broken.example A":                      {"SERVFAIL"},
		"silent.example A":                      {"SILENCE"},
		"db.shop.svc.cluster.local A":           {"10.0.0.6"},
		"api.other.svc.cluster.local A":         {"10.0.0.7"},
		"only6.example AAAA":                    {"fd00::2"},
		"db.example A":                          {"10.0.0.8"},
		"deep.name.example A":                   {"10.0.0.9"},
		"deep.name.example.svc.cluster.local A": {"10.9.9.9"},
	})
	kubernetes := local + "search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
	hosts := "127.0.0.1 localhost\n10.1.0.1 Sidecar sidecar.pod # comment\nfd00::9 sidecar\n# 10.1.0.2 commented\nbad line\n"
	v4, v6, both := Families{IPv4: true}, Families{IPv6: true}, Families{true, true}
	for _, c := range []struct {
		name string
		f    Families
		conf string
		want string
		err  error
	}{
		{"10.2.3.4", both, local, "10.2.3.4", nil},
		{"10.2.3.4", v6, local, "", ErrNotFound},
		{"::ffff:10.2.3.4", v4, local, "10.2.3.4", nil},
		{"fd00::5", both, local, "fd00::5", nil},
		{"localhost", v4, local, "127.0.0.1", nil},
		{"app.localhost", both, local, "127.0.0.1 ::1", nil},
		{"sidecar", both, local, "10.1.0.1 fd00::9", nil},
		{"SIDECAR.pod", v4, local, "10.1.0.1", nil},
		{"sidecar.", v4, local, "10.1.0.1", nil},
		{"commented", v4, local, "", ErrNotFound},
		{"plain.example", both, local, "10.0.0.1 10.0.0.2 fd00::1", nil},
		{"Plain.Example", v4, local, "10.0.0.1 10.0.0.2", nil},
		{"alias.example", v4, local, "10.0.0.3", nil},
		{"long.example", v4, local, "10.0.0.4", nil},
		{"plain.example", v4, local + "options use-vc\n", "10.0.0.1 10.0.0.2", nil},
		{"forged.example", v4, local, "10.0.0.5", nil},
		{"broken.example", v4, local, "", ErrTryAgain},
		{"silent.example", v4, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", "", ErrTryAgain},
		{"absent.example", v4, local, "", ErrNotFound},
		{"only6.example", v4, local, "", ErrNotFound},
		{"only6.example", both, local, "fd00::2", nil},
		{"db", v4, kubernetes, "10.0.0.6", nil},
		{"api.other", v4, kubernetes, "10.0.0.7", nil},
		{"plain.example", v4, kubernetes, "10.0.0.1 10.0.0.2", nil},
		{"plain.example.", v4, kubernetes, "10.0.0.1 10.0.0.2", nil},
		{"db.", v4, kubernetes, "", ErrNotFound},
		{"deep.name.example", v4, local + "search svc.cluster.local\n", "10.0.0.9", nil},
		{"deep.name.example", v4, kubernetes, "10.9.9.9", nil},
		{"nobody", v4, "nameserver 127.0.0.9\noptions timeout:1 attempts:1\n", "", ErrTryAgain},
		{"plain.example", v4, "nameserver 127.0.0.9\n" + local, "10.0.0.1 10.0.0.2", nil},
		{"a..b", v4, local, "", ErrNotFound},
		{strings.Repeat("x", 64) + ".example", v4, local, "", ErrNotFound},
		{"", v4, local, "", ErrNotFound},
	} {
		addrs, err := s.resolver(hosts, c.conf).Lookup(c.name, c.f)
		var got []string
		for _, a := range addrs {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != c.want || err != c.err {
			t.Errorf("%q: %v, %v; want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.asked, "tcp long.example A") || !slices.Contains(s.asked, "udp long.example A") {
		t.Error("the long answer did not come over UDP, then TCP")
	}
	if slices.ContainsFunc(s.asked, func(q string) bool { return strings.Contains(q, "localhost") || strings.Contains(q, "sidecar") }) {
		t.Errorf("the servers were asked for local names: %q", s.asked)
	}
}

func TestHostileFilesDoNotHang(t *testing.T) {
	if got := readFile("/dev/zero"); got != "" {
		t.Errorf("%d bytes of a device", len(got))
	}
	if got := readFile(t.TempDir()); got != "" {
		t.Errorf("%q of a directory", got)
	}
	begin := time.Now()
	r := &Resolver{Hosts: "/no/such", Conf: "/no/such", Port: 1}
	if _, err := r.Lookup("name.example", Families{IPv4: true}); err != ErrTryAgain || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}
