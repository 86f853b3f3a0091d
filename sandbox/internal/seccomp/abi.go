package seccomp

import (
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// abi is one way to enter the kernel, with its own numbers of system calls.
type abi struct {
	arch specs.Arch
	// audit is the AUDIT_ARCH_* by which the kernel tells a filter where a call
	// came from; x86_64 and x32 share one.
	audit uint32
	// words says that arguments have 32 bits, of which alone a rule is, as in
	// libseccomp.
	words bool
	// table holds the numbers by name.
	table string
}

// x32Bit is set in every number of an x32 call.
const x32Bit = 0x40000000

// family returns the ABIs of the kernels on which a Go program of that GOARCH
// runs, its own first.
func family(goarch string) []abi {
	switch goarch {
	case "amd64":
		return []abi{
			{specs.ArchX86_64, unix.AUDIT_ARCH_X86_64, false, x8664Table},
			{specs.ArchX86, unix.AUDIT_ARCH_I386, true, x86Table},
			{specs.ArchX32, unix.AUDIT_ARCH_X86_64, true, ""},
		}
	case "arm64":
		return []abi{
			{specs.ArchAARCH64, unix.AUDIT_ARCH_AARCH64, false, aarch64Table},
			{specs.ArchARM, unix.AUDIT_ARCH_ARM, true, armTable},
		}
	}
	return nil
}

// foreign says whether the specification knows an architecture whose programs
// cannot run here, so that naming it changes nothing.
func foreign(arch specs.Arch) bool {
	switch arch {
	case specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64,
		specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32,
		specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
		specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE,
		specs.ArchS390, specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64,
		specs.ArchRISCV64, specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB:
		return true
	}
	return false
}

// numbers finds an ABI's system calls by name.
type numbers struct {
	all map[string]uint32
	// own are those that differ in x32; none if it does not have the call.
	own map[string]uint32
	bit uint32
}

const none = ^uint32(0)

func (n *numbers) find(name string) (uint32, bool) {
	if number, ok := n.own[name]; ok {
		return number | n.bit, number != none
	}
	number, ok := n.all[name]
	return number | n.bit, ok
}

// numbers parses the ABI's table; x32 shares that of the native ABI.
func (a abi) numbers(native *numbers) *numbers {
	if a.arch == specs.ArchX32 {
		return &numbers{all: native.all, own: x32Numbers(), bit: x32Bit}
	}
	all := make(map[string]uint32, 512)
	for rest := a.table; rest != ""; {
		var name, digits string
		name, rest, _ = strings.Cut(rest, " ")
		if end := strings.IndexAny(rest, " \n"); end >= 0 {
			digits, rest = rest[:end], rest[end+1:]
		} else {
			digits, rest = rest, ""
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			panic(err) // the table is generated
		}
		all[name] = uint32(n)
	}
	return &numbers{all: all}
}

// x32Numbers are the calls that pass pointers to pointers, which have numbers of
// their own in the kernel's syscall_64.tbl, and those that x32 does not have.
func x32Numbers() map[string]uint32 {
	m := make(map[string]uint32, 64)
	for _, name := range []string{
		"uselib", "_sysctl", "create_module", "get_kernel_syms", "query_module", "nfsservctl",
		"set_thread_area", "get_thread_area", "epoll_ctl_old", "epoll_wait_old", "vserver",
		"map_shadow_stack",
	} {
		m[name] = none
	}
	for i, name := range []string{
		"rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom", "sendmsg", "recvmsg",
		"execve", "ptrace", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "sigaltstack",
		"timer_create", "mq_notify", "kexec_load", "waitid", "set_robust_list", "get_robust_list",
		"vmsplice", "move_pages", "preadv", "pwritev", "rt_tgsigqueueinfo", "recvmmsg", "sendmmsg",
		"process_vm_readv", "process_vm_writev", "setsockopt", "getsockopt", "io_setup", "io_submit",
		"execveat", "preadv2", "pwritev2",
	} {
		m[name] = 512 + uint32(i)
	}
	return m
}

// multiplexed returns the name and the first argument of the call by which
// programs for x86 made some system calls before Linux 4.3 and 5.1 gave those
// numbers of their own; "" if there is none. A rule for the one is a rule for
// the other.
func multiplexed(arch specs.Arch, name string) (call string, number uint64) {
	if arch != specs.ArchX86 {
		return "", 0
	}
	for i, n := range [...]string{
		1: "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair",
		"send", "recv", "sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg",
		"accept4", "recvmmsg", "sendmmsg",
	} {
		if n == name && n != "" {
			return "socketcall", uint64(i)
		}
	}
	for i, n := range [...]string{
		1: "semop", 2: "semget", 3: "semctl", 4: "semtimedop",
		11: "msgsnd", 12: "msgrcv", 13: "msgget", 14: "msgctl",
		21: "shmat", 22: "shmdt", 23: "shmget", 24: "shmctl",
	} {
		if n == name && n != "" {
			return "ipc", uint64(i)
		}
	}
	return "", 0
}
