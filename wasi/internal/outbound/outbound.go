package outbound

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/resolver"
)

// Rules are those of one guest. They are used by one goroutine at a time.
type Rules struct {
	rules []rule
	// hosts are the addresses of the rules' names.
	hosts map[string]*host
	// resolver has the files of before the guest ran.
	resolver *resolver.Resolver
	// now is the clock for the age of addresses.
	now func() time.Time
}

type host struct {
	addresses []netip.Addr
	// asked is when they were looked up.
	asked time.Time
}

// maxRules bounds the cost of a decision.
const maxRules = 256

// fresh is how long the addresses of a host are believed when another is wanted:
// a service that has moved is found again, and a guest that tries one address
// after the other does not make a question of each.
const fresh = 5 * time.Second

// Parse reads rules: host, address or network, with or without a port or a range
// of ports. The name servers of the container are always allowed at their port,
// for guests that resolve names themselves.
func Parse(list []string, r *resolver.Resolver) (*Rules, error) {
	if len(list) > maxRules {
		return nil, fmt.Errorf("%d destinations are too many; name at most %d, or a network", len(list), maxRules)
	}
	rules := &Rules{hosts: map[string]*host{}, resolver: r.Frozen(), now: time.Now}
	for _, s := range list {
		s = strings.TrimSpace(s)
		rule, err := parseRule(s)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		if rule.host != "" {
			rules.hosts[rule.host] = &host{}
		}
		rules.rules = append(rules.rules, rule)
	}
	for _, server := range rules.resolver.Servers() {
		network := netip.PrefixFrom(server.Addr(), server.Addr().BitLen())
		rules.rules = append(rules.rules, rule{network: network, first: server.Port(), last: server.Port()})
	}
	return rules, nil
}

// Allow tells whether the guest may reach that address. It may ask name servers
// and take as long as a lookup.
func (r *Rules) Allow(to netip.AddrPort) bool {
	address := to.Addr().Unmap().WithZone("")
	// The kernel connects what is addressed to nobody to this host.
	switch address {
	case netip.IPv4Unspecified():
		address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case netip.IPv6Unspecified():
		address = netip.IPv6Loopback()
	}
	var names []string
	for i := range r.rules {
		rule := &r.rules[i]
		switch {
		case !rule.holdsPort(to.Port()):
		case rule.host != "":
			names = append(names, rule.host)
		case rule.network.Contains(address):
			return true
		}
	}
	for _, name := range names {
		if slices.Contains(r.hosts[name].addresses, address) {
			return true
		}
	}
	// Only now, since it takes time.
	for _, name := range names {
		if slices.Contains(r.lookup(name), address) {
			return true
		}
	}
	return false
}

func (r *Rules) lookup(name string) []netip.Addr {
	h := r.hosts[name]
	if now := r.now(); h.asked.IsZero() || now.Sub(h.asked) >= fresh {
		// A name that is not found now has no address for a while.
		h.addresses, _ = r.resolver.Lookup(name, resolver.Families{IPv4: true, IPv6: true})
		h.asked = now
	}
	return h.addresses
}
