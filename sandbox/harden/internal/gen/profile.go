package main

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// profile is what a runner may do while its guest runs. Calls that only some
// processors have are passed over on the others.
func profile() *specs.LinuxSeccomp {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	allow := func(names ...string) {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: names, Action: specs.ActAllow})
	}
	allowIf := func(name string, args ...specs.LinuxSeccompArg) {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: args})
	}

	// The Go runtime.
	allow("brk", "clock_getres", "clock_gettime", "clock_nanosleep", "exit", "exit_group", "futex", "getpid",
		"getrandom", "gettid", "gettimeofday", "madvise", "membarrier", "mincore", "munmap", "nanosleep",
		"restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity",
		"sched_yield", "sigaltstack", "tgkill", "uname")
	// Threads, and neither processes nor namespaces. set_robust_list and rseq are
	// for threads of a libc, which tests have.
	const thread = unix.CLONE_VM | unix.CLONE_THREAD
	const never = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID |
		unix.CLONE_NEWUSER | unix.CLONE_NEWUTS | unix.CLONE_PARENT | unix.CLONE_PTRACE | unix.CLONE_UNTRACED | unix.CLONE_VFORK
	allowIf("clone", masked(0, thread|never, thread))
	allow("rseq", "set_robust_list")
	// Memory is data. All code is there when this filter is loaded.
	allowIf("mmap", masked(2, unix.PROT_EXEC, 0))
	allowIf("mprotect", masked(2, unix.PROT_EXEC, 0))
	allowIf("prctl", equal(0, unix.PR_SET_NAME))
	allowIf("prctl", equal(0, unix.PR_SET_VMA))
	// Limits of this process are read, and not changed.
	allowIf("prlimit64", equal(0, 0), equal(2, 0))
	allow("getrlimit")

	// Polling, by the Go runtime and by poll_oneoff.
	allow("epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "pipe2",
		"poll", "ppoll", "timerfd_create", "timerfd_gettime", "timerfd_settime")

	// Descriptors and files.
	allow("close", "close_range", "copy_file_range", "dup", "dup3", "fadvise64", "fallocate", "fcntl",
		"fdatasync", "flock", "fstat", "fstatfs", "fsync", "ftruncate", "getdents64", "lseek",
		"pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readv", "sendfile",
		"write", "writev")
	allow("faccessat", "faccessat2", "fchmod", "fchmodat", "fchmodat2", "getcwd", "linkat", "mkdirat",
		"newfstatat", "openat", "openat2", "readlinkat", "renameat", "renameat2", "statfs", "statx",
		"symlinkat", "unlinkat", "utimensat")
	// Package os of Go on amd64 still makes these of the older ones.
	allow("access", "lstat", "mkdir", "open", "readlink", "rename", "rmdir", "stat", "unlink")
	for _, request := range []uint64{
		unix.TIOCINQ, fionbio, unix.TCGETS, unix.TIOCGWINSZ,
	} {
		// By its low word, which is all that the kernel looks at.
		allowIf("ioctl", masked(1, 1<<32-1, request))
	}

	// Sockets of the internet and of the file system: no packets, no netlink,
	// no kernel crypto, no virtual machines.
	allow("accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom",
		"recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "shutdown")
	const kind = 0xf // of the type, whose other bits are SOCK_NONBLOCK and SOCK_CLOEXEC
	for _, family := range []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6} {
		for _, typ := range []uint64{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			allowIf("socket", equal(0, family), masked(1, kind, typ))
		}
	}
	// Options, without those that attach programs or are netfilter's.
	allowIf("setsockopt", equal(1, unix.SOL_SOCKET), less(2, unix.SO_ATTACH_FILTER))
	allowIf("setsockopt", equal(1, unix.IPPROTO_IP), less(2, netfilter))
	allowIf("setsockopt", equal(1, unix.IPPROTO_IPV6), less(2, netfilter))
	allowIf("setsockopt", equal(1, unix.IPPROTO_IPV6), greater(2, netfilter+1))
	allowIf("setsockopt", equal(1, unix.IPPROTO_TCP), less(2, unix.TCP_ULP))
	allowIf("setsockopt", equal(1, unix.IPPROTO_UDP))

	// Who am I, which changes nothing.
	allow("capget", "getegid", "geteuid", "getgid", "getgroups", "getppid", "getrusage", "getuid")

	// Newer forms that programs try first and that are about what is not
	// allowed: not knowing them is an answer that everybody understands.
	p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{
		Names: []string{"clone3", "io_uring_setup"}, Action: specs.ActErrno, ErrnoRet: enosys(),
	})
	return p
}

const (
	// fionbio is FIONBIO of <asm-generic/ioctls.h>.
	fionbio = 0x5421
	// netfilter is IPT_SO_SET_REPLACE and IP6T_SO_SET_REPLACE; the next one is
	// its SET_ADD_COUNTERS.
	netfilter = 64
)

func enosys() *uint {
	code := uint(unix.ENOSYS)
	return &code
}

func equal(index uint, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpEqualTo, Value: value}
}

func masked(index uint, mask, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpMaskedEqual, Value: mask, ValueTwo: value}
}

func less(index uint, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpLessThan, Value: value}
}

func greater(index uint, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpGreaterThan, Value: value}
}
