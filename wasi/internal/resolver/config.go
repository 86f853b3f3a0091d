package resolver

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// conf is what resolv.conf(5) says.
type conf struct {
	servers []netip.Addr
	// unnamed tells that the text has no server, so that it is this host.
	unnamed  bool
	search   []string
	ndots    int
	timeout  time.Duration
	attempts int
	// tcp is the option use-vc.
	tcp  bool
	port uint16
}

// Limits and defaults of glibc; the number of search domains has had none since
// 2.26, but each costs a question.
const (
	maxServers  = 3
	maxSearch   = 32
	maxNdots    = 15
	maxTimeout  = 30
	maxAttempts = 5
)

func parseConf(text string) *conf {
	c := &conf{ndots: 1, timeout: 5 * time.Second, attempts: 2}
	for line := range strings.Lines(text) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(fields[1]); err == nil && len(c.servers) < maxServers {
				c.servers = append(c.servers, a.Unmap())
			}
		case "domain":
			c.search = fields[1:2]
		case "search":
			c.search = fields[1:min(len(fields), 1+maxSearch)]
		case "options":
			for _, o := range fields[1:] {
				c.option(o)
			}
		}
	}
	if len(c.servers) == 0 {
		c.unnamed = true
		c.servers = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	return c
}

func (c *conf) option(o string) {
	name, value, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(value)
	number := err == nil && n >= 0
	switch {
	case name == "ndots" && number:
		c.ndots = min(n, maxNdots)
	case name == "timeout" && number:
		c.timeout = time.Duration(max(1, min(n, maxTimeout))) * time.Second
	case name == "attempts" && number:
		c.attempts = max(1, min(n, maxAttempts))
	case name == "use-vc" || name == "usevc" || name == "tcp":
		c.tcp = true
	}
}

// candidates returns the names to ask for, in order. A trailing dot says that a
// name is complete.
func (c *conf) candidates(name string) []string {
	if bare, complete := strings.CutSuffix(name, "."); complete {
		return []string{bare}
	}
	var names []string
	for _, domain := range c.search {
		full := name
		if domain = strings.ToLower(strings.Trim(domain, ".")); domain != "" {
			full += "." + domain
		}
		if IsDomain(full) {
			names = append(names, full)
		}
	}
	if strings.Count(name, ".") >= c.ndots {
		return append([]string{name}, names...)
	}
	return append(names, name)
}

// lookupHosts returns the addresses of a name in hosts(5).
func lookupHosts(text, name string) []netip.Addr {
	var found []netip.Addr
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, alias := range fields[1:] {
			if strings.EqualFold(strings.TrimSuffix(alias, "."), name) {
				found = append(found, a.WithZone("").Unmap())
				break
			}
		}
	}
	return found
}

// maxFile is more than anybody's hosts.
const maxFile = 1 << 20

// readFile returns a file's text, and none of what cannot be read or is no
// regular file: the files come from an image.
func readFile(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ""
	}
	b := make([]byte, min(max(st.Size, 0), maxFile))
	for n := 0; n < len(b); {
		m, err := unix.Read(fd, b[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			b = b[:n]
			break
		}
		n += m
	}
	return string(b)
}
