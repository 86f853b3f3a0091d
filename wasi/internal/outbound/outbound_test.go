package outbound

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/resolver"
)

// files makes a resolver of a hosts file and a name server that nobody asks.
func files(t *testing.T, hosts string) *resolver.Resolver {
	t.Helper()
	dir := t.TempDir()
	r := &resolver.Resolver{Hosts: filepath.Join(dir, "hosts"), Conf: filepath.Join(dir, "resolv.conf"), Port: 53}
	for path, text := range map[string]string{r.Hosts: hosts, r.Conf: "nameserver 192.0.2.53\noptions timeout:1 attempts:1\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestWhatTheRulesListIsAllowed(t *testing.T) {
	rules, err := Parse([]string{
		"10.0.0.0/8:5432", "198.51.100.7", "[fd00::/8]:8000-8999", "2001:db8::1", " [2001:db8::2]:443", "db.example:3306", "127.0.0.1:80",
	}, files(t, "203.0.113.5 db.example\n2001:db8::5 db.example\n"))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"10.1.2.3:5432":          true,
		"10.1.2.3:5433":          false,
		"11.0.0.1:5432":          false,
		"[::ffff:10.0.0.1]:5432": true,
		"198.51.100.7:1":         true,
		"198.51.100.8:1":         false,
		"[fd12::1]:8500":         true,
		"[fd12::1]:9000":         false,
		"[2001:db8::1]:65535":    true,
		"[2001:db8::2]:443":      true,
		"[2001:db8::2]:80":       false,
		"203.0.113.5:3306":       true,
		"[2001:db8::5]:3306":     true,
		"203.0.113.5:22":         false,
		"203.0.113.6:3306":       false,
		"127.0.0.1:80":           true,
		"0.0.0.0:80":             true,
		"[::]:80":                false,
		"192.0.2.53:53":          true,
		"192.0.2.53:443":         false,
		"198.51.100.7:0":         false,
	} {
		if got := rules.Allow(netip.MustParseAddrPort(address)); got != want {
			t.Errorf("%s is allowed: %v", address, got)
		}
	}
}

func TestNoRulesAllowNothing(t *testing.T) {
	rules, err := Parse([]string{}, files(t, ""))
	if err != nil || rules.Allow(netip.MustParseAddrPort("127.0.0.1:80")) {
		t.Errorf("got %v", err)
	}
}

func TestRulesThatCannotBeUnderstoodAreRefused(t *testing.T) {
	for _, s := range []string{
		"", ":", ":80", "host:", "host:0", "host:65536", "host:9-8", "host:http", "*.example", "a..b", "10.0.0.0/33",
		"[fd00::1", "[fd00::1]80", "[fd00::1]:", "fe80::1%eth0", "http://host", "::ffff:1.2.3.4/120", "host/8", "-1:-1-",
	} {
		if _, err := Parse([]string{s}, files(t, "")); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%q gives %v", s, err)
		}
	}
	if _, err := Parse(make([]string, maxRules+1), files(t, "")); err == nil {
		t.Error("any number of rules is taken")
	}
}

// The guest may write to the files by which names are resolved.
func TestLaterChangesOfTheFilesAllowNothingMore(t *testing.T) {
	r := files(t, "203.0.113.5 db.example\n")
	rules, err := Parse([]string{"db.example"}, r)
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Now()
	rules.now = func() time.Time { return clock }
	for _, path := range []string{r.Hosts, r.Conf} {
		if err := os.WriteFile(path, []byte("198.51.100.7 db.example\nnameserver 198.51.100.7\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if rules.Allow(netip.MustParseAddrPort("198.51.100.7:53")) || !rules.Allow(netip.MustParseAddrPort("203.0.113.5:53")) {
			t.Error("the rules follow what the guest has written")
		}
		clock = clock.Add(time.Hour)
	}
}
