package wasi

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/preview1"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/resolver"
)

// Config is what one guest finds in its host.
type Config struct {
	// Args is the guest's argv, args[0] included.
	Args []string
	// Env is the guest's environment as KEY=VALUE, in order.
	Env []string
	// Preopens become the guest's descriptors from 3 on, in order.
	Preopens []Preopen
	// Listeners are addresses with ports, such as 0.0.0.0:8080 or [::]:8080, on
	// which TCP listeners wait for guests that cannot make their own. They become
	// the descriptors after the preopens, in order: wasi-libc and Go stop looking
	// for preopens at the first descriptor that is none. Guests that have some
	// find in their environment, unless it says otherwise, LISTEN_FDS with the
	// number of listeners and WASI_LISTEN_FD with the descriptor of the first.
	Listeners []string
	// Streams become the descriptors after the listeners, in order.
	Streams []Stream
	// Stdin, Stdout and Stderr are the descriptors of this process that the guest
	// has as 0, 1 and 2. A negative one, or one that is closed, reads as empty and
	// discards what is written. They are never closed, nor are their flags
	// changed: other processes have them too.
	Stdin, Stdout, Stderr int
	// MaxDescriptors and MaxDirectories bound what the guest may have open at a
	// time; zero is DefaultMaxDescriptors and DefaultMaxDirectories. The process's
	// RLIMIT_NOFILE counts as well.
	MaxDescriptors, MaxDirectories int
	// Outbound are the destinations to which the guest may connect and send
	// datagrams: hosts, addresses or networks, with or without a port or a range
	// of ports, such as db.example:5432, 10.0.0.0/8 or [fd00::/8]:8000-8999. nil
	// is every one. Another is refused with EACCES and a line on Stderr.
	Outbound []string
	// DNSServer sets the variable DNS_SERVER, unless Env has it, to the first IPv4
	// server in /etc/resolv.conf with its port. Guests of wasmedge_wasi_socket
	// 0.5.0 and 0.5.1 look names up there, over TCP, and otherwise at a public
	// server.
	DNSServer bool
	// EagerWrites tells every poll at once that a socket can be written to, even
	// a guest that was told before and did not write. By default such repeated
	// answers come with growing delays of at most a second, because guests of
	// WasmEdge's older libraries would otherwise never sleep.
	EagerWrites bool
}

// Limits where the configuration has none.
const (
	DefaultMaxDescriptors = 1 << 16
	DefaultMaxDirectories = 1 << 12
)

// Preopen is a directory that the guest may use.
type Preopen struct {
	// Host is its path for this process.
	Host string
	// Guest is its name for the guest. In the one called "/" absolute symbolic
	// links start at that directory; in others they cannot be followed.
	Guest string
	// ReadOnly refuses every change below it.
	ReadOnly bool
}

// Stream is a connected stream socket of this process.
type Stream struct {
	// FD is the raw descriptor, which the host owns once NewHost has succeeded.
	FD int
	// Variable is the name of the environment variable that tells the guest the
	// number of its descriptor.
	Variable string
}

// Host is the host of one guest.
type Host struct {
	config   Config
	table    *descriptor.Table
	preview1 *preview1.Host
	trees    []*descriptor.Tree
	// preopens is how many directories the guest finds from descriptor 3 on.
	preopens int
}

// NewHost checks the configuration and prepares the guest's resources. It fails
// on what the guest would otherwise meet only after its start: an argument that
// no C string can hold, or a preopen that is not a directory (in that case the
// error wraps that of the system).
func NewHost(c Config) (*Host, error) {
	for i, arg := range c.Args {
		if strings.ContainsRune(arg, 0) {
			return nil, fmt.Errorf("argument %d contains a NUL character", i)
		}
	}
	for _, kv := range c.Env {
		if key, _, ok := strings.Cut(kv, "="); !ok || key == "" || strings.ContainsRune(kv, 0) {
			return nil, fmt.Errorf("environment entry %q is not of the form KEY=VALUE", kv)
		}
	}
	if c.MaxDescriptors == 0 {
		c.MaxDescriptors = DefaultMaxDescriptors
	}
	if c.MaxDirectories == 0 {
		c.MaxDirectories = DefaultMaxDirectories
	}
	table := descriptor.NewTable(c.MaxDescriptors, c.MaxDirectories)
	h := &Host{table: table}
	for _, fd := range [...]int{c.Stdin, c.Stdout, c.Stderr} {
		n, e := table.AddInherited(fd)
		if e != 0 {
			return nil, fmt.Errorf("standard streams: %w", e)
		}
		preview1.Grant(table.Get(n))
	}
	if err := h.addPreopens(c.Preopens); err != nil {
		h.Close()
		return nil, err
	}
	if len(c.Listeners) > 0 {
		c.Env = withDefault(c.Env, "LISTEN_FDS", len(c.Listeners))
		c.Env = withDefault(c.Env, "WASI_LISTEN_FD", 3+h.preopens)
	}
	for _, l := range c.Listeners {
		if err := addListener(table, l); err != nil {
			h.Close()
			return nil, fmt.Errorf("listen on %s: %w", l, err)
		}
	}
	for _, stream := range c.Streams {
		d, n, e := table.AddStream(stream.FD)
		if e != 0 {
			h.Close()
			return nil, fmt.Errorf("stream for %s: %w", stream.Variable, e)
		}
		preview1.Grant(d)
		c.Env = withDefault(c.Env, stream.Variable, int(n))
	}
	var err error
	if c.DNSServer {
		if c.Env, err = withNameServer(c.Env, resolver.OfContainer()); err != nil {
			h.Close()
			return nil, err
		}
	}
	h.config = c
	h.preview1, err = preview1.New(preview1.Config{Args: c.Args, Environ: c.Env, EagerWrites: c.EagerWrites, Outbound: c.Outbound, Stderr: c.Stderr}, table)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("allow-outbound: %w", err)
	}
	return h, nil
}

// withDefault adds a variable unless there is one of that name.
func withDefault(env []string, name string, value int) []string {
	if has(env, name) {
		return env
	}
	return append(slices.Clip(env), name+"="+strconv.Itoa(value))
}

func has(env []string, name string) bool {
	return slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
}

// withNameServer adds DNS_SERVER unless it is there. The readers of that
// variable connect to IPv4 addresses only.
func withNameServer(env []string, r resolver.Resolver) ([]string, error) {
	if has(env, "DNS_SERVER") {
		return env, nil
	}
	for _, server := range r.Listed() {
		if server.Addr().Is4() {
			return append(slices.Clip(env), "DNS_SERVER="+server.String()), nil
		}
	}
	return nil, fmt.Errorf("dns-server: %s names no IPv4 name server for DNS_SERVER", r.Conf)
}

func addListener(table *descriptor.Table, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return errors.New("it is not an address with a port, such as 0.0.0.0:8080")
	}
	d, _, e := table.AddListener(at)
	if e != 0 {
		return e
	}
	preview1.Grant(d)
	return nil
}

// Close closes what was opened for the guest, which must not run any more.
func (h *Host) Close() {
	h.table.CloseAll()
	for _, t := range h.trees {
		t.Close()
	}
	h.trees = nil
}

// Descriptors are the raw descriptors that the host has for the guest, but for its
// standard streams.
func (h *Host) Descriptors() []int {
	all := h.table.Raw()
	for _, t := range h.trees {
		all = append(all, t.Raw())
	}
	return all
}

// ModuleConfig is with what the guest must be instantiated for the functions of
// this host to find their resources.
func (h *Host) ModuleConfig() wazero.ModuleConfig {
	return wazero.NewModuleConfig().
		// Nobody may import from the guest, and a guest that calls itself
		// wasi_snapshot_preview1 must not collide with its host.
		WithName("").
		// The runner calls the entry point itself.
		WithStartFunctions()
}

// Instantiate puts the host modules that the guest imports into the runtime,
// with the functions that it imports and no others. Each of them must be one
// that Provides knows.
func (h *Host) Instantiate(ctx context.Context, r wazero.Runtime, guest wazero.CompiledModule) error {
	names := map[string][]string{}
	for _, f := range guest.ImportedFunctions() {
		module, name, _ := f.Import()
		if !slices.Contains(names[module], name) {
			names[module] = append(names[module], name)
		}
	}
	for _, module := range [...]string{Preview1, Env} {
		if len(names[module]) == 0 {
			continue
		}
		b := r.NewHostModuleBuilder(module)
		for _, name := range names[module] {
			signature, ok := Provides(module, name)
			f, found := h.function(module, name)
			if !ok || !found {
				return fmt.Errorf("instantiate %s: no function %s", module, name)
			}
			b = b.NewFunctionBuilder().WithGoModuleFunction(f, signature.Params, signature.Results).Export(name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("instantiate %s: %w", module, err)
		}
	}
	return nil
}
