package preview1

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
)

// maxRefusals bounds for how many destinations a refusal is told.
const maxRefusals = 64

// allowed fails with EACCES, as a firewall of the kernel's would, when the
// guest's rules do not hold the address. The first refusal of each destination
// is a line on the guest's stderr.
func (h *Host) allowed(to *descriptor.Address) Errno {
	if h.outbound == nil {
		return success
	}
	ip, ok := netip.AddrFromSlice(to.IP[:to.Size])
	at := netip.AddrPortFrom(ip, to.Port)
	if ok && h.outbound.Allow(at) {
		return success
	}
	if !h.refused[at] && len(h.refused) < maxRefusals {
		h.refused[at] = true
		_, _ = unix.Write(h.stderr, fmt.Appendf(nil, "connecting to %s is refused: the annotation io.containerd.wasm.v1/allow-outbound does not list it\n", at))
	}
	return errAcces
}
