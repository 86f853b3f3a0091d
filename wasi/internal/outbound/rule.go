package outbound

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/resolver"
)

// rule allows a network or a host, at a range of ports.
type rule struct {
	network netip.Prefix
	// host is a name to resolve, where network is not valid.
	host        string
	first, last uint16
}

var errForm = errors.New("it is no destination; use a host, an address or a network, with or without a port: db.example:5432, 10.0.0.0/8, [fd00::/8]:8000-8999")

// parseRule reads HOST, ADDRESS or NETWORK, each with :PORT or :FIRST-LAST or
// without. An IPv6 one has brackets where a port follows.
func parseRule(s string) (rule, error) {
	where, ports := s, ""
	switch bracketed, rest, ok := strings.Cut(strings.TrimPrefix(s, "["), "]"); {
	case strings.HasPrefix(s, "[") && (!ok || rest != "" && rest[0] != ':'):
		return rule{}, errForm
	case strings.HasPrefix(s, "["):
		where, ports = bracketed, strings.TrimPrefix(rest, ":")
		if rest == ":" {
			return rule{}, errForm
		}
	case strings.Count(s, ":") == 1:
		where, ports, _ = strings.Cut(s, ":")
		if ports == "" {
			return rule{}, errForm
		}
	}
	r := rule{first: 1, last: 1<<16 - 1}
	if ports != "" {
		from, to, isRange := strings.Cut(ports, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || first == 0 || first > last {
			return rule{}, fmt.Errorf("%q is no port or range of ports; use one such as 443 or 8000-8999", ports)
		}
		r.first, r.last = uint16(first), uint16(last)
	}
	if network, err := netip.ParsePrefix(where); err == nil {
		if network.Addr().Is4In6() {
			return rule{}, errForm
		}
		r.network = network.Masked()
		return r, nil
	}
	if a, err := netip.ParseAddr(where); err == nil && a.Zone() == "" {
		a = a.Unmap()
		r.network = netip.PrefixFrom(a, a.BitLen())
		return r, nil
	}
	if !resolver.IsDomain(where) || strings.ContainsFunc(where, notOfHost) {
		return rule{}, errForm
	}
	r.host = where
	return r, nil
}

// notOfHost finds what a host's name cannot have (RFC 1123, 2.1, and the
// underscore of service names), such as the * of a pattern.
func notOfHost(c rune) bool {
	return c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
}

func (r *rule) holdsPort(port uint16) bool { return r.first <= port && port <= r.last }
