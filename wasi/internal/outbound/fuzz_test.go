package outbound

import (
	"fmt"
	"net/netip"
	"testing"
)

// FuzzRule holds that a rule from an annotation allows what it names and nothing
// beside it: written in full it is the same rule, and of a network it is exactly
// the addresses in it.
func FuzzRule(f *testing.F) {
	for _, s := range []string{
		"db.example:5432", "10.0.0.0/8", "[fd00::/8]:8000-8999", "1.2.3.4", "[::1]:1", "::1", "::ffff:1.2.3.4", "::ffff:0:0/96", "10.1.2.3/8:80",
		"fe80::1%eth0", "a:0", "a:1-0", "a:65536", "*", "*.example", "", ":", "[", "[]", "[a]b", "a:", "0.0.0.0/0", "0x7f.1", "127.1", "A.EXAMPLE.",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRule(s)
		if err != nil {
			return
		}
		if (r.host == "") != r.network.IsValid() || r.first == 0 || r.first > r.last {
			t.Fatalf("%q is %+v", s, r)
		}
		where := r.host
		if where == "" {
			where = "[" + r.network.String() + "]"
		}
		full := fmt.Sprintf("%s:%d-%d", where, r.first, r.last)
		if again, err := parseRule(full); err != nil || again != r {
			t.Errorf("%q is %+v, and %q is %+v: %v", s, r, full, again, err)
		}
		if r.host != "" {
			if _, err := netip.ParseAddr(r.host); err == nil {
				t.Errorf("%q is the address %s as a name", s, r.host)
			}
			return
		}
		if a := r.network.Addr(); a.Is4In6() || a.Zone() != "" || r.network != r.network.Masked() {
			t.Errorf("%q is the network %v", s, r.network)
		}
		rules := &Rules{rules: []rule{r}}
		first := r.network.Addr()
		for _, test := range []struct {
			at   netip.AddrPort
			want bool
		}{
			{netip.AddrPortFrom(first, r.first), true},
			{netip.AddrPortFrom(first, r.first-1), false},
			{netip.AddrPortFrom(first.Prev(), r.first), false},
		} {
			// The unspecified addresses mean this host.
			if test.at.Addr().IsValid() && !test.at.Addr().IsUnspecified() && rules.Allow(test.at) != test.want {
				t.Errorf("%q allows %v: %v", s, test.at, !test.want)
			}
		}
	})
}
