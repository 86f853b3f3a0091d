package debug

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// identity is who a process is, as far as permissions go.
type identity struct {
	uid, gid     uint32
	groups       []uint32 // supplementary
	capabilities uint64   // the effective ones
}

// id prints the effective user and group, which are what the kernel checks.
func id(c *call) int {
	o, operands, ok := c.options("ugGn", "")
	if !ok || !c.noOperands(operands) {
		return exitUsage
	}
	who, err := current()
	if err != nil {
		c.complain("capabilities", err)
	}
	return c.id(o, who)
}

func (c *call) id(o options, who identity) int {
	groups := []uint32{who.gid}
	for _, g := range who.groups {
		if g != who.gid {
			groups = append(groups, g)
		}
	}
	user, group := numbered, numbered
	if o.has('n') {
		user, group = c.user, c.group
	}
	switch {
	case o.has('u') && !o.has('g') && !o.has('G'):
		c.print(user(who.uid), "\n")
	case o.has('g') && !o.has('u') && !o.has('G'):
		c.print(group(who.gid), "\n")
	case o.has('G') && !o.has('u') && !o.has('g'):
		for i, g := range groups {
			if i > 0 {
				c.print(" ")
			}
			c.print(group(g))
		}
		c.print("\n")
	case len(o.flags) > 0:
		return c.usageError("one of -u, -g and -G, with or without -n")
	default:
		c.print("uid=", withName(who.uid, c.user), " gid=", withName(who.gid, c.group), " groups=")
		for i, g := range groups {
			if i > 0 {
				c.print(",")
			}
			c.print(withName(g, c.group))
		}
		fmt.Fprintf(c.out, "\ncapabilities=%016x", who.capabilities)
		for _, name := range capabilityNames(who.capabilities) {
			c.print(" ", name)
		}
		c.print("\n")
	}
	return 0
}

func numbered(n uint32) string { return utoa(uint64(n)) }

// withName is "0(root)", or "1000" for somebody unknown.
func withName(n uint32, name func(uint32) string) string {
	if s := name(n); s != numbered(n) {
		return numbered(n) + "(" + s + ")"
	}
	return numbered(n)
}

// current reads this process's identity.
func current() (identity, error) {
	who := identity{uid: uint32(unix.Geteuid()), gid: uint32(unix.Getegid())}
	groups, err := unix.Getgroups()
	if err != nil {
		return who, err
	}
	for _, g := range groups {
		who.groups = append(who.groups, uint32(g))
	}
	var data [2]unix.CapUserData // version 3 has two words
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return who, err
	}
	who.capabilities = uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
	return who, nil
}

// capabilityNames names the bits of a set; those that a later kernel has are
// numbers.
func capabilityNames(set uint64) []string {
	// In the order of include/uapi/linux/capability.h.
	known := strings.Fields(`chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap
		linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module
		sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time
		sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog
		wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore`)
	var names []string
	for i := range 64 {
		switch {
		case set&(1<<i) == 0:
		case i < len(known):
			names = append(names, known[i])
		default:
			names = append(names, numbered(uint32(i)))
		}
	}
	return names
}
