package sandbox

// RuntimeCalls are the system calls that a program of Go makes by itself, and the
// init to become the program: under its filter it still has signals and a
// scheduler. They are what a seccomp profile for one of our own programs begins
// with.
func RuntimeCalls() []string {
	return []string{
		// To become the program.
		"execveat", "prctl", "seccomp", "arch_prctl",
		// The runtime.
		"brk", "clock_getres", "clock_gettime", "clock_nanosleep", "clone", "exit", "exit_group", "fcntl", "futex", "getpid",
		"getrandom", "gettid", "gettimeofday", "madvise", "membarrier", "mincore", "mmap", "mprotect", "munmap",
		"nanosleep", "prlimit64", "read", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
		"sched_getaffinity", "sched_yield", "set_robust_list", "set_tid_address", "sigaltstack", "tgkill", "uname", "write",
		"epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2", "pipe2",
	}
}
