package shim

import (
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultTerminationLog is where kubelet mounts the file whose content it shows as
// the reason for a container's end, unless a Pod's terminationMessagePath says
// otherwise, of which a runtime hears nothing.
const defaultTerminationLog = "/dev/termination-log"

// terminationLog is the file of the container in which kubelet looks for the
// reason of its end; empty when there is none.
func terminationLog(spec *specs.Spec) string {
	for _, m := range spec.Mounts {
		if path.Clean(m.Destination) == defaultTerminationLog {
			return defaultTerminationLog
		}
	}
	return ""
}
