package sandbox

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Capabilities are sets of capabilities, bit n being capability number n.
type Capabilities struct {
	Bounding    uint64 `json:"bounding"`
	Effective   uint64 `json:"effective"`
	Permitted   uint64 `json:"permitted"`
	Inheritable uint64 `json:"inheritable"`
	Ambient     uint64 `json:"ambient"`
}

// capabilities takes over process.capabilities; none at all means no
// capability. Names that this kernel or this host does not have are dropped
// with a warning, as the runtime specification says: "Runtimes SHOULD NOT fail
// if the container configuration requests capabilities that cannot be granted".
func (c *Config) capabilities(spec *specs.LinuxCapabilities) {
	if spec == nil {
		return
	}
	var missing []string
	set := func(names []string) (bits uint64) {
		for _, name := range names {
			n := slices.Index(capabilityNames[:], name)
			// In a user namespace of its own every process starts with all.
			if n < 0 || !grantable(n) && (c.User == nil || !known(n)) {
				if !slices.Contains(missing, name) {
					missing = append(missing, name)
				}
				continue
			}
			bits |= 1 << n
		}
		return bits
	}
	caps := Capabilities{
		Bounding:    set(spec.Bounding),
		Effective:   set(spec.Effective),
		Permitted:   set(spec.Permitted),
		Inheritable: set(spec.Inheritable),
		Ambient:     set(spec.Ambient),
	}
	if len(missing) > 0 {
		c.warn(fmt.Sprintf("process.capabilities: %v cannot be granted on this host and are left out", missing))
	}
	c.Capabilities = caps.consistent()
	if lost := caps.Ambient &^ c.Capabilities.Ambient; lost != 0 {
		c.warn(fmt.Sprintf("process.capabilities.ambient: %v are left out, because they are not both permitted and inheritable", namesOf(lost)))
	}
}

// consistent removes what capset(2) and prctl(PR_CAP_AMBIENT_RAISE) would fail
// on: an effective capability must be permitted, an inheritable one must be
// in the bounding set, an ambient one must be permitted and inheritable.
func (want Capabilities) consistent() Capabilities {
	want.Effective &= want.Permitted
	want.Inheritable &= want.Bounding
	want.Ambient &= want.Permitted & want.Inheritable
	return want
}

// grantable says whether the bounding set of this process, which the init
// inherits, has the capability.
func grantable(n int) bool {
	r, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
	return err == nil && r == 1
}

// known says whether the kernel has the capability.
func known(n int) bool {
	_, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
	return err == nil
}

func namesOf(bits uint64) []string {
	var names []string
	for n, name := range capabilityNames {
		if bits&(1<<n) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// capabilityNames are indexed by the kernel's numbers.
var capabilityNames = [...]string{
	unix.CAP_CHOWN:              "CAP_CHOWN",
	unix.CAP_DAC_OVERRIDE:       "CAP_DAC_OVERRIDE",
	unix.CAP_DAC_READ_SEARCH:    "CAP_DAC_READ_SEARCH",
	unix.CAP_FOWNER:             "CAP_FOWNER",
	unix.CAP_FSETID:             "CAP_FSETID",
	unix.CAP_KILL:               "CAP_KILL",
	unix.CAP_SETGID:             "CAP_SETGID",
	unix.CAP_SETUID:             "CAP_SETUID",
	unix.CAP_SETPCAP:            "CAP_SETPCAP",
	unix.CAP_LINUX_IMMUTABLE:    "CAP_LINUX_IMMUTABLE",
	unix.CAP_NET_BIND_SERVICE:   "CAP_NET_BIND_SERVICE",
	unix.CAP_NET_BROADCAST:      "CAP_NET_BROADCAST",
	unix.CAP_NET_ADMIN:          "CAP_NET_ADMIN",
	unix.CAP_NET_RAW:            "CAP_NET_RAW",
	unix.CAP_IPC_LOCK:           "CAP_IPC_LOCK",
	unix.CAP_IPC_OWNER:          "CAP_IPC_OWNER",
	unix.CAP_SYS_MODULE:         "CAP_SYS_MODULE",
	unix.CAP_SYS_RAWIO:          "CAP_SYS_RAWIO",
	unix.CAP_SYS_CHROOT:         "CAP_SYS_CHROOT",
	unix.CAP_SYS_PTRACE:         "CAP_SYS_PTRACE",
	unix.CAP_SYS_PACCT:          "CAP_SYS_PACCT",
	unix.CAP_SYS_ADMIN:          "CAP_SYS_ADMIN",
	unix.CAP_SYS_BOOT:           "CAP_SYS_BOOT",
	unix.CAP_SYS_NICE:           "CAP_SYS_NICE",
	unix.CAP_SYS_RESOURCE:       "CAP_SYS_RESOURCE",
	unix.CAP_SYS_TIME:           "CAP_SYS_TIME",
	unix.CAP_SYS_TTY_CONFIG:     "CAP_SYS_TTY_CONFIG",
	unix.CAP_MKNOD:              "CAP_MKNOD",
	unix.CAP_LEASE:              "CAP_LEASE",
	unix.CAP_AUDIT_WRITE:        "CAP_AUDIT_WRITE",
	unix.CAP_AUDIT_CONTROL:      "CAP_AUDIT_CONTROL",
	unix.CAP_SETFCAP:            "CAP_SETFCAP",
	unix.CAP_MAC_OVERRIDE:       "CAP_MAC_OVERRIDE",
	unix.CAP_MAC_ADMIN:          "CAP_MAC_ADMIN",
	unix.CAP_SYSLOG:             "CAP_SYSLOG",
	unix.CAP_WAKE_ALARM:         "CAP_WAKE_ALARM",
	unix.CAP_BLOCK_SUSPEND:      "CAP_BLOCK_SUSPEND",
	unix.CAP_AUDIT_READ:         "CAP_AUDIT_READ",
	unix.CAP_PERFMON:            "CAP_PERFMON",
	unix.CAP_BPF:                "CAP_BPF",
	unix.CAP_CHECKPOINT_RESTORE: "CAP_CHECKPOINT_RESTORE",
}
