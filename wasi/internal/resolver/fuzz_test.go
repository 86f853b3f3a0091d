package resolver

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// FuzzParseAnswer holds of any message from the network that it is an answer only
// to the question that was asked, and that addresses come from it alone and are
// of the type that was asked for.
func FuzzParseAnswer(f *testing.F) {
	q := question(7, "a.example", typeA)
	q[2] |= 0x80
	answers := func(n byte, records ...byte) []byte {
		b := append(slices.Clone(q), records...)
		b[7] = n
		return b
	}
	address := []byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4}
	alias := []byte{0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 0, 0, 4, 1, 'b', 0xc0, 14}
	f.Add(q, false)
	f.Add(answers(1, address...), false)
	f.Add(answers(2, append(slices.Clone(alias), 1, 'b', 0xc0, 14, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4)...), false)
	f.Add(answers(1, 0xc0, byte(len(q)), 0, 5, 0, 1, 0, 0, 0, 0, 0, 2, 0xc0, byte(len(q))), false)                    // a name that is itself
	f.Add(answers(1, append([]byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 16}, make([]byte, 16)...)...), false)         // A with 16 bytes
	f.Add(answers(255, address...), false)                                                                            // fewer than it says
	f.Add(answers(1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 1), false)                                         // longer than the message
	f.Add(answers(2, append(slices.Clone(alias), 1, 'b', 0xc0, 14, 0, 5, 0, 1, 0, 0, 0, 0, 0, 2, 0xc0, 12)...), true) // a circle of aliases
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		kind, length := uint16(typeA), 4
		if six {
			kind, length = typeAAAA, 16
		}
		a, ok := parseAnswer(b, 7, "a.example", kind)
		if !ok {
			if len(a.addrs) > 0 {
				t.Errorf("addresses %v of no answer", a.addrs)
			}
			return
		}
		want := question(7, "a.example", kind)
		if len(b) < len(want) || b[2]&0x80 == 0 || b[0] != want[0] || b[1] != want[1] {
			t.Fatalf("%q is an answer", b)
		}
		for _, ip := range a.addrs {
			if raw := ip.AsSlice(); len(raw) != length || !bytes.Contains(b[headerSize:], raw) {
				t.Errorf("%v of %q", ip, b)
			}
		}
		for _, foreign := range []struct {
			id   uint16
			name string
		}{{8, "a.example"}, {7, "b.example"}} {
			if _, ok := parseAnswer(b, foreign.id, foreign.name, kind); ok {
				t.Errorf("%q answers another question too", b)
			}
		}
	})
}

// FuzzConfiguration holds that an image's resolv.conf and hosts lead to few
// questions, each of which can be asked, and to no address that they do not have.
func FuzzConfiguration(f *testing.F) {
	f.Add("nameserver 10.0.0.1\nsearch a.example b.example\noptions ndots:5 timeout:1 attempts:2 use-vc\n", "name")
	f.Add("10.0.0.1 name name.example # comment\n::1 name\nfe80::1%eth0 name.\n", "name")
	f.Add("nameserver ::ffff:1.2.3.4\noptions ndots:-1 timeout:99999999999999999999 attempts:0\nsearch "+strings.Repeat("a. ", 200), "a.b")
	f.Add("domain .\nsearch .. "+strings.Repeat("x", 254)+"\nnameserver 1\n", "a.")
	f.Fuzz(func(t *testing.T, text, name string) {
		c := parseConf(text)
		if len(c.servers) == 0 || len(c.servers) > maxServers || len(c.search) > maxSearch || c.ndots < 0 || c.ndots > maxNdots {
			t.Errorf("%+v", c)
		}
		if s := c.timeout.Seconds(); s < 1 || s > maxTimeout || c.attempts < 1 || c.attempts > maxAttempts {
			t.Errorf("%d attempts of %v", c.attempts, c.timeout)
		}
		for _, a := range c.servers {
			if !a.IsValid() || a.Is4In6() {
				t.Errorf("server %v", a)
			}
		}
		for _, a := range lookupHosts(text, name) {
			if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
				t.Errorf("%v of hosts", a)
			}
		}
		if !IsDomain(name) {
			return
		}
		names := c.candidates(name)
		if len(names) == 0 || len(names) > maxSearch+1 {
			t.Errorf("%d names to ask for", len(names))
		}
		for _, n := range names {
			q := question(1, n, typeA)
			asked, end, ok := readName(q, headerSize)
			if !ok || asked != strings.ToLower(n) || end != len(q)-4 {
				t.Errorf("the question for %q is for %q", n, asked)
			}
		}
	})
}
