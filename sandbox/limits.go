package sandbox

import (
	"golang.org/x/sys/unix"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Rlimit is a resource limit of the program.
type Rlimit struct {
	// Name is the constant's name, for messages.
	Name string `json:"name"`
	// Resource is the RLIMIT_* number.
	Resource int    `json:"resource"`
	Soft     uint64 `json:"soft"`
	Hard     uint64 `json:"hard"`
}

// rlimits takes over process.rlimits.
func (c *Config) rlimits(limits []specs.POSIXRlimit) error {
	seen := make(map[string]bool)
	for i, l := range limits {
		resource, ok := rlimitNumber(l.Type)
		switch {
		case !ok:
			return invalid("process.rlimits[%d].type: %q is not a resource limit of Linux; correct it", i, l.Type)
		case seen[l.Type]:
			return invalid("process.rlimits has %s twice; remove one", l.Type)
		case l.Soft > l.Hard:
			return invalid("process.rlimits[%d]: the soft limit %d of %s is above its hard limit %d; lower it", i, l.Soft, l.Type, l.Hard)
		}
		seen[l.Type] = true
		// The Wasm engine and the Go runtime reserve gigabytes of address
		// space that they never touch, and end with a crash where they may not.
		if (resource == unix.RLIMIT_AS || resource == unix.RLIMIT_DATA) && l.Soft != unix.RLIM_INFINITY {
			return invalid("process.rlimits[%d]: %s would stop the Wasm engine, which reserves far more address space than it uses; remove it and limit memory by linux.resources.memory.limit", i, l.Type)
		}
		c.Rlimits = append(c.Rlimits, Rlimit{Name: l.Type, Resource: resource, Soft: l.Soft, Hard: l.Hard})
	}
	return nil
}

func rlimitNumber(name string) (int, bool) {
	// In the order of the kernel's numbers, which are the same on every
	// architecture that Go's linux port and this shim share but mips.
	names := [...]string{
		unix.RLIMIT_CPU:        "RLIMIT_CPU",
		unix.RLIMIT_FSIZE:      "RLIMIT_FSIZE",
		unix.RLIMIT_DATA:       "RLIMIT_DATA",
		unix.RLIMIT_STACK:      "RLIMIT_STACK",
		unix.RLIMIT_CORE:       "RLIMIT_CORE",
		unix.RLIMIT_RSS:        "RLIMIT_RSS",
		unix.RLIMIT_NPROC:      "RLIMIT_NPROC",
		unix.RLIMIT_NOFILE:     "RLIMIT_NOFILE",
		unix.RLIMIT_MEMLOCK:    "RLIMIT_MEMLOCK",
		unix.RLIMIT_AS:         "RLIMIT_AS",
		unix.RLIMIT_LOCKS:      "RLIMIT_LOCKS",
		unix.RLIMIT_SIGPENDING: "RLIMIT_SIGPENDING",
		unix.RLIMIT_MSGQUEUE:   "RLIMIT_MSGQUEUE",
		unix.RLIMIT_NICE:       "RLIMIT_NICE",
		unix.RLIMIT_RTPRIO:     "RLIMIT_RTPRIO",
		unix.RLIMIT_RTTIME:     "RLIMIT_RTTIME",
	}
	for number, n := range names {
		if n == name {
			return number, true
		}
	}
	return 0, false
}
