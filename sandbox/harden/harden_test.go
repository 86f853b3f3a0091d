package harden

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMain makes the test binary the process that is confined, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "confined" {
		confined(os.Args[2], os.Args[3:])
		return
	}
	os.Exit(m.Run())
}

// confined hardens the process and prints what became of what it tries.
func confined(what string, names []string) {
	// Threads that exist already are confined as well.
	var ready, end sync.WaitGroup
	end.Add(1)
	for range 3 {
		ready.Add(1)
		go func() {
			runtime.LockOSThread()
			ready.Done()
			end.Wait()
		}()
	}
	ready.Wait()
	if err := Harden(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	seen := make(map[string]string)
	switch what {
	case "forbidden", "absent":
		for _, name := range names {
			try, ok := forbidden[name]
			if !ok {
				try = absent()[name]
			}
			_, _, e := try()
			seen[name] = "ok"
			if e != 0 {
				seen[name] = unix.ErrnoName(e)
			}
		}
	case "threads":
		tasks, _ := filepath.Glob("/proc/self/task/*/status")
		for _, t := range tasks {
			b, _ := os.ReadFile(t)
			for line := range strings.Lines(string(b)) {
				if key, value, _ := strings.Cut(line, ":"); key == "Seccomp" || key == "NoNewPrivs" {
					seen[t+" "+key] = strings.TrimSpace(value)
				}
			}
		}
	case "work":
		seen["work"] = "ok"
		if err := work(names[0]); err != nil {
			seen["work"] = err.Error()
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(seen)
	end.Done()
}

func runConfined(t *testing.T, what string, names ...string) map[string]string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"confined", what}, names...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]string)
	if err := json.Unmarshal(out, &seen); err != nil {
		t.Fatal(err)
	}
	return seen
}

type call func() (uintptr, uintptr, unix.Errno)

func raw(number uintptr, args ...uintptr) call {
	return func() (uintptr, uintptr, unix.Errno) {
		var a [6]uintptr
		copy(a[:], args)
		return unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	}
}

// forbidden would give something else than EPERM to root without the filter:
// most fail on their arguments with EFAULT, EINVAL or EBADF.
var forbidden = map[string]call{
	"execve":                 raw(unix.SYS_EXECVE, 0),
	"execveat":               raw(unix.SYS_EXECVEAT, 0),
	"fork":                   raw(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0),
	"clone of a user ns":     raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_VM|unix.CLONE_THREAD),
	"unshare":                raw(unix.SYS_UNSHARE, 0),
	"setns":                  raw(unix.SYS_SETNS, ^uintptr(0)),
	"mount":                  raw(unix.SYS_MOUNT, 0, 0, 0, unix.MS_PRIVATE),
	"umount2":                raw(unix.SYS_UMOUNT2, 0),
	"move_mount":             raw(unix.SYS_MOVE_MOUNT, 0),
	"open_tree":              raw(unix.SYS_OPEN_TREE, 0),
	"fsopen":                 raw(unix.SYS_FSOPEN, 0),
	"mount_setattr":          raw(unix.SYS_MOUNT_SETATTR, 0),
	"pivot_root":             raw(unix.SYS_PIVOT_ROOT, 0),
	"chroot":                 raw(unix.SYS_CHROOT, 0),
	"ptrace":                 raw(unix.SYS_PTRACE, unix.PTRACE_PEEKDATA, ^uintptr(0)),
	"process_vm_readv":       raw(unix.SYS_PROCESS_VM_READV, 0),
	"process_vm_writev":      raw(unix.SYS_PROCESS_VM_WRITEV, 0),
	"pidfd_getfd":            raw(unix.SYS_PIDFD_GETFD, ^uintptr(0)),
	"kill":                   raw(unix.SYS_KILL, 1, 0),
	"bpf":                    raw(unix.SYS_BPF, 0),
	"keyctl":                 raw(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID),
	"add_key":                raw(unix.SYS_ADD_KEY, 0),
	"request_key":            raw(unix.SYS_REQUEST_KEY, 0),
	"kexec_load":             raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, ^uintptr(0)),
	"init_module":            raw(unix.SYS_INIT_MODULE, 0),
	"finit_module":           raw(unix.SYS_FINIT_MODULE, ^uintptr(0)),
	"delete_module":          raw(unix.SYS_DELETE_MODULE, 0),
	"userfaultfd":            raw(unix.SYS_USERFAULTFD, 0),
	"perf_event_open":        raw(unix.SYS_PERF_EVENT_OPEN, 0),
	"memfd_create":           raw(unix.SYS_MEMFD_CREATE, 0),
	"io_uring_enter":         raw(unix.SYS_IO_URING_ENTER, ^uintptr(0)),
	"open_by_handle_at":      raw(unix.SYS_OPEN_BY_HANDLE_AT, 0),
	"setuid":                 raw(unix.SYS_SETUID, 0),
	"setgroups":              raw(unix.SYS_SETGROUPS, 0),
	"capset":                 raw(unix.SYS_CAPSET, 0),
	"personality":            raw(unix.SYS_PERSONALITY, 0xffffffff),
	"prctl PR_CAP_AMBIENT":   raw(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL),
	"prctl PR_SET_DUMPABLE":  raw(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1),
	"prlimit64 of another":   raw(unix.SYS_PRLIMIT64, 1, unix.RLIMIT_NOFILE),
	"prlimit64 with a limit": raw(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, 1),
	"seccomp":                raw(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0),
	"mknodat":                raw(unix.SYS_MKNODAT, 0),
	"fchownat":               raw(unix.SYS_FCHOWNAT, ^uintptr(0)),
	"executable memory":      raw(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE, ^uintptr(0)),
	"memory made executable": func() (uintptr, uintptr, unix.Errno) {
		page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return 0, 0, err.(unix.Errno)
		}
		return unix.RawSyscall(unix.SYS_MPROTECT, uintptr(unsafe.Pointer(&page[0])), 4096, unix.PROT_READ|unix.PROT_EXEC)
	},
	"TIOCSTI":             raw(unix.SYS_IOCTL, 0, unix.TIOCSTI, 0),
	"TIOCSTI with more":   raw(unix.SYS_IOCTL, 0, unix.TIOCSTI|1<<32, 0),
	"AF_NETLINK":          raw(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, 0),
	"AF_PACKET":           raw(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0),
	"AF_ALG":              raw(unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
	"AF_VSOCK":            raw(unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0),
	"SOCK_RAW":            raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
	"SO_ATTACH_FILTER":    raw(unix.SYS_SETSOCKOPT, ^uintptr(0), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER),
	"SO_ATTACH_BPF":       raw(unix.SYS_SETSOCKOPT, ^uintptr(0), unix.SOL_SOCKET, unix.SO_ATTACH_BPF),
	"IPT_SO_SET_REPLACE":  raw(unix.SYS_SETSOCKOPT, ^uintptr(0), unix.IPPROTO_IP, 64),
	"IP6T_SO_SET_REPLACE": raw(unix.SYS_SETSOCKOPT, ^uintptr(0), unix.IPPROTO_IPV6, 64),
	"TCP_ULP":             raw(unix.SYS_SETSOCKOPT, ^uintptr(0), unix.IPPROTO_TCP, unix.TCP_ULP),
}

// absent are calls that programs try and do without.
func absent() map[string]call {
	return map[string]call{
		"clone3":         raw(unix.SYS_CLONE3, 0),
		"io_uring_setup": raw(unix.SYS_IO_URING_SETUP, 0),
		"10000":          raw(10000),
		"x32":            raw(unix.SYS_GETPID | 0x40000000),
	}
}

func TestAConfinedProcessIsKeptFromWhatARunnerDoesNot(t *testing.T) {
	var names []string
	for name := range forbidden {
		names = append(names, name)
	}
	for name, got := range runConfined(t, "forbidden", names...) {
		if got != "EPERM" {
			t.Errorf("%s gives %s", name, got)
		}
	}
}

func TestCallsThatNobodyMissesDoNotExist(t *testing.T) {
	for name, got := range runConfined(t, "absent", "clone3", "io_uring_setup", "10000") {
		if got != "ENOSYS" {
			t.Errorf("%s gives %s", name, got)
		}
	}
}

func TestEveryThreadIsConfined(t *testing.T) {
	seen := runConfined(t, "threads")
	if len(seen) < 2*4 {
		t.Errorf("%d threads were seen: %v", len(seen)/2, seen)
	}
	for what, value := range seen {
		if want := map[bool]string{true: "2", false: "1"}[strings.HasSuffix(what, "Seccomp")]; value != want {
			t.Errorf("%s is %s, want %s", what, value, want)
		}
	}
}

func TestAProcessCannotLeaveByAnotherABI(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("only x86_64 has another ABI on every kernel")
	}
	err := exec.Command("/proc/self/exe", "confined", "forbidden", "x32").Run()
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
		t.Errorf("the process ends with %v, not by SIGSYS", err)
	}
}

func TestAConfinedProcessDoesARunnersWork(t *testing.T) {
	if got := runConfined(t, "work", t.TempDir())["work"]; got != "ok" {
		t.Error(got)
	}
}

// work is what package os, package net and the Go runtime can ask for on behalf
// of a guest.
func work(dir string) error {
	file := filepath.Join(dir, "file")
	for _, step := range []func() error{
		func() error { return os.WriteFile(file, []byte("content"), 0o644) },
		func() error {
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			return f.Truncate(3)
		},
		func() error { return os.Chmod(file, 0o600) },
		func() error { return os.Chtimes(file, time.Unix(1, 0), time.Unix(2, 0)) },
		func() error { return os.Rename(file, file+"2") },
		func() error { return os.Link(file+"2", file) },
		func() error { return os.Symlink("file", file+"3") },
		func() error { _, err := os.Readlink(file + "3"); return err },
		func() error { return os.Mkdir(filepath.Join(dir, "d"), 0o755) },
		func() error { _, err := os.ReadDir(dir); return err },
		func() error { _, err := os.Stat(file); return err },
		func() error { return os.Remove(filepath.Join(dir, "d")) },
		func() error {
			var root *os.Root
			root, err := os.OpenRoot(dir)
			if err != nil {
				return err
			}
			defer root.Close()
			f, err := root.Open("file")
			if err != nil {
				return err
			}
			defer f.Close()
			return f.Sync()
		},
		collect, echo, timers,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// collect makes threads and garbage.
func collect() error {
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread() // the thread ends with the goroutine
			for range 10 {
				_ = make([]byte, 1<<20)
			}
		}()
	}
	wg.Wait()
	runtime.GC()
	return nil
}

func echo() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			// Not io.Copy, which would splice.
			b := make([]byte, 1)
			_, _ = io.ReadFull(c, b)
			_, _ = c.Write(b)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

func timers() error {
	select {
	case <-time.After(time.Millisecond):
		return nil
	case <-time.After(10 * time.Second):
		return fmt.Errorf("a timer did not fire")
	}
}

// For what is allowed by its number alone the kernel has a bitmap, in place of the
// filter: it runs the filter once for each number, up to the first instruction that
// looks at something else.
func TestCallsThatAreMadeOftenAreAllowedByTheirNumber(t *testing.T) {
	audit := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	for name, number := range map[string]uint32{
		"read": unix.SYS_READ, "write": unix.SYS_WRITE, "pread64": unix.SYS_PREAD64, "pwrite64": unix.SYS_PWRITE64,
		"recvfrom": unix.SYS_RECVFROM, "sendto": unix.SYS_SENDTO, "ppoll": unix.SYS_PPOLL, "lseek": unix.SYS_LSEEK,
		"accept4": unix.SYS_ACCEPT4, "futex": unix.SYS_FUTEX, "openat2": unix.SYS_OPENAT2, "close": unix.SYS_CLOSE,
	} {
		if i := resultByNumber(number, audit); i.Code != unix.BPF_RET|unix.BPF_K || i.K != unix.SECCOMP_RET_ALLOW {
			t.Errorf("%s: the filter gets to %+v", name, i)
		}
	}
}

// resultByNumber runs the filter as far as the kernel does for its bitmap
// (seccomp_is_const_allow of kernel/seccomp.c), and returns where that ends.
func resultByNumber(number, audit uint32) unix.SockFilter {
	var a uint32
	for pc := 0; ; pc++ {
		i := program[pc]
		next := func(yes bool) {
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch {
		case i.Code == unix.BPF_LD|unix.BPF_W|unix.BPF_ABS && i.K == 0:
			a = number
		case i.Code == unix.BPF_LD|unix.BPF_W|unix.BPF_ABS && i.K == 4:
			a = audit
		case i.Code == unix.BPF_JMP|unix.BPF_JA:
			pc += int(i.K)
		case i.Code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K:
			next(a == i.K)
		case i.Code == unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K:
			next(a >= i.K)
		case i.Code == unix.BPF_JMP|unix.BPF_JGT|unix.BPF_K:
			next(a > i.K)
		case i.Code == unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K:
			next(a&i.K != 0)
		case i.Code == unix.BPF_ALU|unix.BPF_AND|unix.BPF_K:
			a &= i.K
		default:
			return i
		}
	}
}

func BenchmarkHarden(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("/proc/self/exe", "confined", "nothing").Run(); err != nil {
			b.Fatal(err)
		}
	}
}
