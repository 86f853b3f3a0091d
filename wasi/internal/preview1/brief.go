package preview1

import (
	"context"
	"math"

	"github.com/tetratelabs/wazero/api"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// Calls that read and write files have the least work in them, so that what is
// added to them shows most. A brief one (package kernel) is made by the function
// that the engine calls: each that would be in between costs as much as all the
// checks. What is not brief, or fails before the kernel is asked, is left to fdio.go.
type (
	briefRead   Host
	briefWrite  Host
	briefPread  Host
	briefPwrite Host
)

// briefly is a function that makes brief calls itself, or nil.
func (h *Host) briefly(name string) api.GoModuleFunction {
	switch name {
	case "fd_read":
		return (*briefRead)(h)
	case "fd_write":
		return (*briefWrite)(h)
	case "fd_pread":
		return (*briefPread)(h)
	case "fd_pwrite":
		return (*briefPwrite)(h)
	}
	return nil
}

// brief returns what a brief call takes, a raw descriptor and a vector. The vector
// is nil if the call is not to be made so.
func (h *Host) brief(s []uint64, right uint64) (fd int, v *unix.Iovec) {
	d := h.fd(s[0])
	if d == nil || d.Base&right == 0 || uint32(s[2]) != 1 || !d.Brief() || right == rightFdWrite && d.Syncs() {
		return 0, nil
	}
	b, ok := h.bytes(s[1], 8)
	if !ok {
		return 0, nil
	}
	b, ok = h.bytes(uint64(le32(b)), uint64(le32(b[4:])))
	if !ok || len(b) > descriptor.BriefSize {
		return 0, nil
	}
	v = &h.iovecs[0]
	v.Base, v.Len = first(b), uint64(len(b))
	return d.Raw(), v
}

// done is the answer to a call that the kernel has answered.
func (h *Host) done(n uintptr, e unix.Errno, result uint64) uint64 {
	if e != 0 {
		return uint64(errno(e))
	}
	return uint64(h.put32(result, uint32(n)))
}

// Call implements api.GoModuleFunction.
func (b *briefRead) Call(_ context.Context, m api.Module, s []uint64) {
	h := (*Host)(b)
	h.bind(m)
	if fd, v := h.brief(s, rightFdRead); v != nil {
		if n, e := kernel.ReadBriefly(fd, v); e != unix.EINTR {
			s[0] = h.done(n, e, s[3])
			return
		}
	}
	s[0] = uint64(fdRead(h, s))
}

// Call implements api.GoModuleFunction.
func (b *briefWrite) Call(_ context.Context, m api.Module, s []uint64) {
	h := (*Host)(b)
	h.bind(m)
	if fd, v := h.brief(s, rightFdWrite); v != nil {
		if n, e := kernel.WriteBriefly(fd, v); e != unix.EINTR {
			s[0] = h.done(n, e, s[3])
			return
		}
	}
	s[0] = uint64(fdWrite(h, s))
}

// Call implements api.GoModuleFunction.
func (b *briefPread) Call(_ context.Context, m api.Module, s []uint64) {
	h := (*Host)(b)
	h.bind(m)
	if fd, v := h.brief(s, rightFdRead); v != nil && s[3] <= math.MaxInt64 {
		if n, e := kernel.PreadBriefly(fd, v, uintptr(s[3])); e != unix.EINTR {
			s[0] = h.done(n, e, s[4])
			return
		}
	}
	s[0] = uint64(fdPread(h, s))
}

// Call implements api.GoModuleFunction.
func (b *briefPwrite) Call(_ context.Context, m api.Module, s []uint64) {
	h := (*Host)(b)
	h.bind(m)
	if fd, v := h.brief(s, rightFdWrite); v != nil && s[3] <= math.MaxInt64 {
		if n, e := kernel.PwriteBriefly(fd, v, uintptr(s[3])); e != unix.EINTR {
			s[0] = h.done(n, e, s[4])
			return
		}
	}
	s[0] = uint64(fdPwrite(h, s))
}
