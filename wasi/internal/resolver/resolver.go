package resolver

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Errors of a lookup.
var (
	// ErrNotFound tells that there is no such name, or no address of the families
	// that were asked for.
	ErrNotFound = errors.New("no such host")
	// ErrTryAgain tells that no server gave an answer.
	ErrTryAgain = errors.New("no answer from a name server")
)

// Resolver says where the configuration is.
type Resolver struct {
	// Hosts and Conf are paths, by custom /etc/hosts and /etc/resolv.conf.
	Hosts, Conf string
	// Port is that of the name servers: 53.
	Port uint16

	// hosts and conf are the text of the files; nil reads them at each lookup.
	hosts, conf *string
}

// OfContainer returns the resolver of the root that this process is in.
func OfContainer() Resolver {
	return Resolver{Hosts: "/etc/hosts", Conf: "/etc/resolv.conf", Port: 53}
}

// Frozen returns a resolver to which later changes of the files mean nothing.
func (r *Resolver) Frozen() *Resolver {
	hosts, conf := text(r.hosts, r.Hosts), text(r.conf, r.Conf)
	return &Resolver{Port: r.Port, hosts: &hosts, conf: &conf}
}

func text(frozen *string, path string) string {
	if frozen != nil {
		return *frozen
	}
	return readFile(path)
}

// Servers returns the name servers that a lookup asks.
func (r *Resolver) Servers() (servers []netip.AddrPort) {
	for _, a := range parseConf(text(r.conf, r.Conf)).servers {
		servers = append(servers, netip.AddrPortFrom(a, r.Port))
	}
	return servers
}

// Listed returns those of them that the configuration names.
func (r *Resolver) Listed() []netip.AddrPort {
	if parseConf(text(r.conf, r.Conf)).unnamed {
		return nil
	}
	return r.Servers()
}

// Families are the kinds of addresses to look for.
type Families struct{ IPv4, IPv6 bool }

func (f Families) want(a netip.Addr) bool { return a.Is4() && f.IPv4 || a.Is6() && f.IPv6 }

// maxLookup bounds a whole lookup.
const maxLookup = 10 * time.Second

// Lookup returns the addresses of a host, IPv4 first. The error is ErrNotFound
// or ErrTryAgain.
func (r *Resolver) Lookup(name string, f Families) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return only([]netip.Addr{a.WithZone("").Unmap()}, f)
	}
	name = strings.ToLower(name)
	if found := lookupHosts(text(r.hosts, r.Hosts), strings.TrimSuffix(name, ".")); len(found) > 0 {
		return only(found, f)
	}
	// RFC 6761 says that it never goes to a server.
	if bare := strings.TrimSuffix(name, "."); bare == "localhost" || strings.HasSuffix(bare, ".localhost") {
		return only([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, f)
	}
	if !IsDomain(name) {
		return nil, ErrNotFound
	}
	c := parseConf(text(r.conf, r.Conf))
	c.port = r.Port
	deadline := time.Now().Add(maxLookup)
	result := ErrNotFound
	for _, candidate := range c.candidates(name) {
		found, err := c.lookup(candidate, f, deadline)
		if len(found) > 0 {
			return found, nil
		}
		// Like glibc: a server that failed for one candidate may know another, but
		// the name cannot be said not to exist.
		if err == ErrTryAgain {
			result = err
		}
	}
	return nil, result
}

// lookup asks for all wanted types of one name.
func (c *conf) lookup(name string, f Families, deadline time.Time) ([]netip.Addr, error) {
	var found []netip.Addr
	result := ErrNotFound
	for _, q := range [...]struct {
		want bool
		kind uint16
	}{{f.IPv4, typeA}, {f.IPv6, typeAAAA}} {
		if !q.want {
			continue
		}
		addrs, err := c.ask(name, q.kind, deadline)
		found = append(found, addrs...)
		if err != nil {
			result = err
		}
	}
	return found, result
}

// only returns the addresses of the wanted families, IPv4 first.
func only(addrs []netip.Addr, f Families) ([]netip.Addr, error) {
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !f.want(a) })
	if len(addrs) == 0 {
		return nil, ErrNotFound
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return addrs, nil
}

// IsDomain tells whether a name can be asked for: labels of 1 to 63 bytes, 253
// in all.
func IsDomain(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}
