package shim

import (
	"github.com/wasmshim/containerd-shim-wasm/oci"
	"github.com/wasmshim/containerd-shim-wasm/sandbox"
)

// reach is what a process may use of its container's files by Landlock; nil is
// no restriction.
//
// A built-in command has none: it executes nothing from the image, and from a
// domain of its own it could not look into other processes of the container
// (/proc/1/fd, ss -p).
func (c *container) reach(target *oci.Target) []sandbox.Reach {
	if !c.options.Landlock || target.Kind != oci.Wasm {
		return nil
	}
	reach := []sandbox.Reach{{Path: "/etc/hosts"}, {Path: "/etc/resolv.conf"}} // the resolver's
	if log := target.Workload.TerminationLog; log != "" {
		reach = append(reach, sandbox.Reach{Path: log, Write: true})
	}
	for _, p := range target.Workload.Preopens {
		// The few requests that a runner makes of a device are a matter of its
		// own filter.
		reach = append(reach, sandbox.Reach{Path: p.Host, Write: !p.ReadOnly, Control: true})
	}
	return reach
}
