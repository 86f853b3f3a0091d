package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMain makes the test binary be what the sandbox is made of, too: the init,
// the program that runs inside, and a process that holds namespaces.
//
// As root the tests themselves run in a mount namespace of their own. It stands
// for the host: whatever a defect would leave mounted is found in it and goes
// away with it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "init":
			Init()
		case "probe":
			probe()
			return
		case "nothing":
			return
		case "hold":
			_, _ = io.Copy(io.Discard, os.Stdin)
			return
		}
	}
	const inside = "SANDBOX_TEST_NAMESPACE"
	if os.Geteuid() != 0 || os.Getenv(inside) != "" {
		if os.Getenv(inside) != "" {
			if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
				panic(err)
			}
		}
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // for Pdeathsig
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// wish is what a test wants the probe to try, as JSON in its argv.
type wish struct {
	// Read and List are paths whose content is wanted, Write paths to create
	// a file at, Open paths to open for writing without creating them.
	Read, List, Write, Open []string
	// Describe are paths whose type, permissions and owner are wanted.
	Describe []string
	// Calls are the names of system calls to make, see systemCalls.
	Calls []string
}

// systemCalls are without effect on whoever is allowed to make them.
var systemCalls = map[string]func() (uintptr, uintptr, unix.Errno){
	"keyctl": func() (uintptr, uintptr, unix.Errno) {
		return unix.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0)
	},
	"getpriority": func() (uintptr, uintptr, unix.Errno) { return unix.RawSyscall(unix.SYS_GETPRIORITY, 0, 0, 0) },
	"personality 0xffffffff": func() (uintptr, uintptr, unix.Errno) {
		return unix.RawSyscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
	},
	"personality 4": func() (uintptr, uintptr, unix.Errno) { return unix.RawSyscall(unix.SYS_PERSONALITY, 4, 0, 0) },
	"unshare": func() (uintptr, uintptr, unix.Errno) {
		return unix.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_FILES, 0, 0)
	},
	"settimeofday": func() (uintptr, uintptr, unix.Errno) { return unix.RawSyscall(unix.SYS_SETTIMEOFDAY, 0, 0, 0) },
	"mknod": func() (uintptr, uintptr, unix.Errno) {
		name := [...]byte{'/', 'r', 'u', 'n', '/', 'n', 0}
		return unix.RawSyscall6(unix.SYS_MKNODAT, 0, uintptr(unsafe.Pointer(&name[0])), unix.S_IFCHR, uintptr(unix.Mkdev(1, 3)), 0, 0)
	},
	"10000": func() (uintptr, uintptr, unix.Errno) { return unix.RawSyscall(10000, 0, 0, 0) },
	"x32":   func() (uintptr, uintptr, unix.Errno) { return unix.RawSyscall(unix.SYS_GETPID|0x40000000, 0, 0, 0) },
}

// view is what the probe sees, as JSON on its stdout.
type view struct {
	Args, Env  []string
	Cwd        string
	UID, GID   [3]int
	Groups     []int
	Umask      int
	Host       string
	Domain     string
	Namespaces map[string]string
	Mounts     []seenMount
	Status     map[string]string
	Rlimits    map[string][2]uint64
	Dev        map[string]string
	FDs        map[string]string
	SID, PID   int
	LoUp       bool
	// OwnNull says whether stdin is the /dev/null that the program sees.
	OwnNull bool
	Tried   map[string]string
	// Boot is CLOCK_BOOTTIME in seconds.
	Boot int64
	// Sched is the policy, niceness and priority of a thread that the Go runtime
	// made, IOPrio is what ioprio_get(2) says of it, Memory the mode and the first
	// nodes of get_mempolicy(2).
	Sched          string
	IOPrio, Memory int
}

type seenMount struct{ Root, At, Options, Optional, Type, Super string }

func (v *view) mount(at string) seenMount {
	var last seenMount
	for _, m := range v.Mounts {
		if m.At == at {
			last = m
		}
	}
	return last
}

// probe is the program in the sandbox.
func probe() {
	v := view{
		Args: os.Args, Env: os.Environ(),
		Namespaces: map[string]string{}, Status: map[string]string{},
		Rlimits: map[string][2]uint64{}, Dev: map[string]string{}, FDs: map[string]string{},
		Tried: map[string]string{}, PID: os.Getpid(),
	}
	v.FDs = links("/proc/self/fd")
	v.Cwd, _ = unix.Getwd()
	v.UID[0], v.UID[1], v.UID[2] = unix.Getresuid()
	v.GID[0], v.GID[1], v.GID[2] = unix.Getresgid()
	v.Groups, _ = unix.Getgroups()
	v.Umask = unix.Umask(0)
	v.SID, _ = unix.Getsid(0)
	var u unix.Utsname
	_ = unix.Uname(&u)
	v.Host, v.Domain = unix.ByteSliceToString(u.Nodename[:]), unix.ByteSliceToString(u.Domainname[:])
	v.Namespaces = links("/proc/self/ns")
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		v.Mounts = append(v.Mounts, parseMountinfo(line))
	}
	b, _ = os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		v.Status[key] = strings.TrimSpace(value)
	}
	for n := range unix.RLIMIT_RTTIME + 1 {
		var l unix.Rlimit
		_ = unix.Prlimit(0, n, nil, &l)
		v.Rlimits[fmt.Sprint(n)] = [2]uint64{l.Cur, l.Max}
	}
	entries, _ := os.ReadDir("/dev")
	for _, e := range entries {
		v.Dev[e.Name()] = describe("/dev/" + e.Name())
	}
	if s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err == nil {
		ifr, _ := unix.NewIfreq("lo")
		if unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, ifr) == nil {
			v.LoUp = ifr.Uint16()&unix.IFF_UP != 0
		}
		unix.Close(s)
	}
	var in, null unix.Stat_t
	if unix.Fstat(0, &in) == nil && unix.Stat("/dev/null", &null) == nil {
		v.OwnNull = in.Dev == null.Dev && in.Ino == null.Ino
	}
	var w wish
	if len(os.Args) > 2 {
		if err := json.Unmarshal([]byte(os.Args[2]), &w); err != nil {
			panic(err)
		}
	}
	var boot unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	v.Boot = boot.Sec
	v.schedule()
	try(&v, w)
	makeCalls(&v, w.Calls)
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		panic(err)
	}
}

// schedule looks at a thread that is not the init's.
func (v *view) schedule() {
	done := make(chan struct{})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	go func() {
		defer close(done)
		if a, err := unix.SchedGetAttr(0, 0); err == nil {
			v.Sched = fmt.Sprint(a.Policy, a.Nice, a.Priority)
		}
		prio, _, _ := unix.RawSyscall(unix.SYS_IOPRIO_GET, 1, 0, 0)
		var mode int32
		var nodes [128]uint64
		unix.RawSyscall6(unix.SYS_GET_MEMPOLICY, uintptr(unsafe.Pointer(&mode)), uintptr(unsafe.Pointer(&nodes[0])), 8192, 0, 0, 0)
		v.IOPrio, v.Memory = int(prio), int(mode)<<8|int(nodes[0]&0xff)
	}()
	<-done
}

func try(v *view, w wish) {
	for _, p := range w.Read {
		b, err := os.ReadFile(p)
		v.Tried["read "+p] = outcome(string(b), err)
	}
	for _, p := range w.List {
		var names []string
		entries, err := os.ReadDir(p)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		v.Tried["list "+p] = outcome(strings.Join(names, " "), err)
	}
	for _, p := range w.Write {
		v.Tried["write "+p] = outcome("", os.WriteFile(p, []byte("probe"), 0o666))
	}
	for _, p := range w.Describe {
		v.Tried["describe "+p] = describe(p)
	}
	for _, p := range w.Open {
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		v.Tried["open "+p] = outcome("", err)
	}
}

func makeCalls(v *view, names []string) {
	for _, name := range names {
		if _, _, e := systemCalls[name](); e != 0 {
			v.Tried["call "+name] = unix.ErrnoName(e)
		} else {
			v.Tried["call "+name] = "ok"
		}
	}
}

// outcome is the error's name, such as EROFS, or "ok" and the content.
func outcome(content string, err error) string {
	if err == nil {
		return "ok " + content
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func links(dir string) map[string]string {
	m := make(map[string]string)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			m[e.Name()] = target
		}
	}
	return m
}

// describe gives a link's target or "crw-rw-rw- 1:3 0:0".
func describe(path string) string {
	if target, err := os.Readlink(path); err == nil {
		return "-> " + target
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%#o %d:%d %d:%d", st.Mode, unix.Major(st.Rdev), unix.Minor(st.Rdev), st.Uid, st.Gid)
}

func parseMountinfo(line string) seenMount {
	before, after, _ := strings.Cut(line, " - ")
	left, right := strings.Fields(before), strings.Fields(after)
	return seenMount{left[3], left[4], left[5], strings.Join(left[6:], " "), right[0], right[2]}
}
