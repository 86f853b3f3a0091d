package preview1

import (
	"context"
	"net/netip"
	"reflect"

	"github.com/tetratelabs/wazero/api"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/outbound"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/resolver"
)

// Host answers the calls of one guest.
type Host struct {
	// Descriptors are the guest's.
	Descriptors *descriptor.Table

	args, environ vectors
	clock         descriptor.Clock
	poller        *descriptor.Poller
	dir           descriptor.DirReader
	resolver      resolver.Resolver
	// outbound is nil when the guest may reach every address. refused holds the
	// destinations of which stderr tells already.
	outbound *outbound.Rules
	refused  map[netip.AddrPort]bool
	stderr   int

	// module and memory are the guest's; they are known from its first call on.
	module api.Module
	memory api.Memory

	// What follows is of one call each.
	iovecs   [maxIovecs]unix.Iovec
	path, to kernel.Path
	stat     unix.Stat_t
	entry    descriptor.Entry
	scratch  [128]byte
	// started is when the poll in progress began, on the monotonic clock.
	started int64
}

// Config is what a host needs beside its descriptors.
type Config struct {
	// Args and Environ are NUL-free.
	Args, Environ []string
	// EagerWrites switches the delay of repeated write readiness off; see
	// descriptor.Poller.
	EagerWrites bool
	// Outbound lists what the guest may connect to; nil is everything.
	Outbound []string
	// Stderr takes a line for what is refused; negative for none.
	Stderr int
}

// New returns the host of a guest with a table of descriptors. It fails when
// Outbound cannot be understood.
func New(c Config, table *descriptor.Table) (*Host, error) {
	h := &Host{Descriptors: table, args: newVectors(c.Args), environ: newVectors(c.Environ), clock: descriptor.NewClock()}
	h.resolver = resolver.OfContainer()
	h.poller = descriptor.NewPoller(&h.clock)
	h.poller.Eager = c.EagerWrites
	if c.Outbound != nil {
		var err error
		// The guest may be able to write to the files. Its lookups, which the host
		// makes for it, must not go to servers that the rules do not know.
		h.resolver = *h.resolver.Frozen()
		if h.outbound, err = outbound.Parse(c.Outbound, &h.resolver); err != nil {
			return nil, err
		}
		h.refused, h.stderr = map[netip.AddrPort]bool{}, c.Stderr
	}
	return h, nil
}

// Grant gives a descriptor every right that its type can have.
func Grant(d *descriptor.Descriptor) {
	d.Base = rightsOf(d)
	d.Inheriting = d.Base
	if d.Type == descriptor.Directory {
		d.Inheriting = rightsInherited
	}
}

// function is one function of the ABI, with the slots of its parameters.
type function func(h *Host, s []uint64) Errno

// Function returns what a host function does, for wazero, and whether there is
// such a function.
func (h *Host) Function(name string) (api.GoModuleFunction, bool) {
	signature, f := find(name)
	switch {
	case f == nil:
		return nil, false
	case signature[len(signature)-1] == ':':
		return api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
			h.bind(m)
			f(h, stack)
		}), true
	}
	if b := h.briefly(name); b != nil {
		return b, true
	}
	return &hostFunction{h, f}, true
}

// hostFunction is a function with a result. As a type of its own it is called by
// wazero without another function in between.
type hostFunction struct {
	h *Host
	f function
}

// Call implements api.GoModuleFunction.
func (c *hostFunction) Call(_ context.Context, m api.Module, stack []uint64) {
	c.h.bind(m)
	stack[0] = uint64(c.f(c.h, stack))
}

// Signature returns the type of a function: one letter per parameter, a colon,
// and one per result (i for i32, I for i64). It is empty if there is none.
func Signature(name string) string {
	signature, _ := find(name)
	return signature
}

// bind learns whose host it is. It has one guest.
func (h *Host) bind(m api.Module) {
	if h.module == nil {
		h.bindFirst(m)
	}
}

func (h *Host) bindFirst(m api.Module) {
	h.module, h.memory = m, m.Memory()
	// A module without a memory has one that is a nil pointer.
	if v := reflect.ValueOf(h.memory); !v.IsValid() || v.IsNil() {
		h.memory = noMemory{}
	}
}

// noMemory is the memory of a module that has none.
type noMemory struct{ api.Memory }

func (noMemory) Read(uint32, uint32) ([]byte, bool) { return nil, false }
func (noMemory) WriteUint32Le(uint32, uint32) bool  { return false }
func (noMemory) WriteUint64Le(uint32, uint64) bool  { return false }

// bytes is a part of the guest's memory.
func (h *Host) bytes(address, size uint64) ([]byte, bool) {
	return h.memory.Read(uint32(address), uint32(size))
}

// put32 stores a result.
func (h *Host) put32(address uint64, v uint32) Errno {
	if !h.memory.WriteUint32Le(uint32(address), v) {
		return errFault
	}
	return success
}

// put64 stores a result.
func (h *Host) put64(address uint64, v uint64) Errno {
	if !h.memory.WriteUint64Le(uint32(address), v) {
		return errFault
	}
	return success
}

// fits tells whether a result of that size can be stored, for calls whose
// effects could not be undone.
func (h *Host) fits(address uint64, size uint32) bool {
	_, ok := h.memory.Read(uint32(address), size)
	return ok
}

// fd returns a descriptor of the guest, or nil.
func (h *Host) fd(slot uint64) *descriptor.Descriptor { return h.Descriptors.Get(uint32(slot)) }

// maxIovecs is IOV_MAX.
const maxIovecs = 1024

// vector reads an array of iovec or ciovec into what the kernel takes.
func (h *Host) vector(address, count uint64) ([]unix.Iovec, Errno) {
	n := uint32(count)
	if n > maxIovecs {
		return nil, errInval
	}
	b, ok := h.memory.Read(uint32(address), n*8)
	if !ok {
		return nil, errFault
	}
	v := h.iovecs[:n]
	for i := range v {
		part, ok := h.memory.Read(le32(b[8*i:]), le32(b[8*i+4:]))
		if !ok {
			return nil, errFault
		}
		v[i].Base = first(part)
		v[i].Len = uint64(len(part))
	}
	return v, success
}

// pathAt reads a path into a buffer.
func (h *Host) pathAt(p *kernel.Path, address, size uint64) Errno {
	b, ok := h.bytes(address, size)
	if !ok {
		return errFault
	}
	return errno(p.Set(b))
}
