package codecache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changes are the system calls by which a cache changes.
var changes = []uint32{
	unix.SYS_OPENAT, unix.SYS_MKDIRAT, unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_FCHMOD,
	unix.SYS_FCHMODAT, unix.SYS_FSYNC, unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT, unix.SYS_FLOCK, unix.SYS_UTIMENSAT, unix.SYS_FCNTL,
}

// crashCode is what the process of the tests compiles.
var crashCode = bytes.Repeat([]byte("machine code"), 500)

// A process that ends before any of its system calls, whatever it was about to do,
// leaves a whole entry or none, and the old one where it was about to evict it.
func TestACrashBeforeAnySystemCall(t *testing.T) {
	if root := os.Getenv("CODECACHE_TEST_CRASH"); root != "" {
		crashProcess(t, root)
		return
	}
	for n := 0; ; n++ {
		root := filepath.Join(t.TempDir(), "cache")
		c := open(t, root)
		store(t, c, testKey("old"), crashCode)
		ended, _ := runUntil(t, root, n)
		c = open(t, root) // sweeps
		for _, m := range []string{"old", "new"} {
			e, err := c.Lookup(testKey(m))
			switch {
			case err == nil:
				if b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/%s/%s", e.code.Fd(), engineDir, codeFile)); err != nil || !bytes.Equal(b, crashCode) {
					t.Errorf("%d: %s: %q, %v", n, m, b, err)
				}
				e.Close()
			case err != ErrMiss:
				t.Errorf("%d: %s: %v", n, m, err)
			}
		}
		for _, name := range entries(t, c) {
			if name != locksFile && !isHash(name) {
				t.Errorf("%d: left %s", n, name)
			}
		}
		// Nobody is kept waiting by the dead.
		e, err := c.LookupOrMake(t.Context(), testKey("new"), forEver, fill(t, "code"))
		if err != nil {
			t.Fatalf("%d: afterwards: %v", n, err)
		}
		e.Close()
		if ended {
			if n < 20 {
				t.Errorf("it makes %d system calls: this shows nothing", n)
			}
			t.Logf("%d system calls", n)
			return
		}
	}
}

// What is written is on the disk before the entry has its name, and the name is
// before anybody is told: the loss of power is a crash that also takes what was
// not synchronised.
func TestEverythingIsSynchronisedBeforeTheRename(t *testing.T) {
	root := filepath.Join(t.TempDir(), "cache")
	store(t, open(t, root), testKey("old"), crashCode)
	ended, calls := runUntil(t, root, 1<<30)
	if !ended {
		t.Fatal("it did not end")
	}
	renamed, dirty, synced := false, map[string]bool{}, 0
	for _, call := range calls {
		name, object, _ := strings.Cut(call, " ")
		object = strings.Replace(object, root, "", 1)
		switch name {
		case "write", "pwrite64", "fchmod", "fchown", "mkdirat":
			dirty[object] = true
		case "fsync":
			delete(dirty, object)
			synced++
		case "renameat2":
			if strings.HasSuffix(object, testKey("new").String()) {
				renamed = true
				for o := range dirty {
					// The directory in which the draft was made has its own later.
					if strings.Contains(o, draftPrefix) {
						t.Errorf("%s is not synchronised before the rename", o)
					}
				}
				clear(dirty)
				dirty[""] = true
			}
		}
	}
	if !renamed || dirty[""] || synced < 6 {
		t.Errorf("renamed %v, root dirty %v, synchronised %d times:\n%s", renamed, dirty[""], synced, strings.Join(calls, "\n"))
	}
}

// Files of which the disk has a part only, or zeros in place of it, are damage.
func TestEntriesAreMissedWhenAnyByteIsMissing(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "cache"))
	code := []byte("machine code")
	dir := plant(t, c, testKey("app"), code)
	for _, file := range []string{"meta.json", filepath.Join("code", engineDir, codeFile)} {
		whole, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for n := range whole {
			for _, b := range [][]byte{whole[:n], append(slices.Clone(whole[:n]), make([]byte, len(whole)-n)...)} {
				if err := errors.Join(os.Remove(filepath.Join(dir, file)), os.WriteFile(filepath.Join(dir, file), b, fileMode)); err != nil {
					t.Fatal(err)
				}
				e, err := c.Lookup(testKey("app"))
				if _, ok := errors.AsType[*DamageError](err); !ok {
					t.Fatalf("%s with %d of %d bytes: %v, %v", file, n, len(whole), e, err)
				}
				plant(t, c, testKey("app"), code)
			}
		}
	}
}

// runUntil runs crashProcess and lets it make n system calls that change
// something. It tells whether it ended by itself, and the calls.
func runUntil(t *testing.T, root string, n int) (ended bool, calls []string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestACrashBeforeAnySystemCall$")
	cmd.Env = append(os.Environ(), "CODECACHE_TEST_CRASH="+root, "CODECACHE_TEST_CALLS="+strconv.Itoa(n))
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	for line := range strings.Lines(stderr.String()) {
		if call, ok := strings.CutPrefix(strings.TrimSpace(line), "call "); ok {
			calls = append(calls, call)
		}
	}
	switch {
	case status.Signaled() && status.Signal() == unix.SIGKILL:
		return false, calls
	case err != nil:
		t.Fatalf("%v\n%s%s", err, &out, &stderr)
	case strings.Contains(out.String(), "SKIP"):
		t.Skip(&out)
	}
	return true, calls
}

// crashProcess makes an entry for which another has to go, on a thread whose
// system calls wait for leave.
func crashProcess(t *testing.T, root string) {
	left, err := strconv.Atoi(os.Getenv("CODECACHE_TEST_CALLS"))
	if err != nil {
		t.Fatal(err)
	}
	// The thread ends with this goroutine.
	runtime.LockOSThread()
	listener, err := listen(changes)
	if err != nil {
		t.Skip(err)
	}
	go supervise(listener, root, left)
	c, err := Open(root, WithLimit(10_000)) // of one entry
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.LookupOrMake(t.Context(), testKey("new"), forEver, func(d *Draft) error {
		compile(t, d.Dir(), crashCode)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
}

// notification is struct seccomp_notif of linux/seccomp.h.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

// answer is struct seccomp_notif_resp.
type answer struct {
	id, val uint64
	err     int32
	flags   uint32
}

const (
	notifRecv = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	notifSend = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
)

// listen has the calling thread's calls of these numbers wait for an answer.
func listen(calls []uint32) (listener int, err error) {
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}}
	for i, nr := range calls {
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(calls) - i), K: nr})
	}
	program = append(program,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// supervise lets so many calls pass, and then ends the process.
func supervise(listener int, root string, left int) {
	for {
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifRecv, uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue
		}
		call := describeCall(n)
		if strings.Contains(call, root) {
			if left == 0 {
				_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			}
			left--
			fmt.Fprintln(os.Stderr, "call", call)
		}
		a := answer{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifSend, uintptr(unsafe.Pointer(&a)))
	}
}

// describeCall names a call and what it is about. The caller waits meanwhile.
func describeCall(n notification) string {
	path := func(fd uint64) string {
		target, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", int32(fd)))
		return target
	}
	// Read by the kernel: the race detector does not see that the caller waits.
	text := func(address uint64) string {
		b := make([]byte, unix.PathMax)
		local := []unix.Iovec{{Base: &b[0]}}
		local[0].SetLen(len(b))
		// What is behind the end of the mapping is not read.
		n, _ := unix.ProcessVMReadv(os.Getpid(), local, []unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}, 0)
		s, _, _ := bytes.Cut(b[:max(n, 0)], []byte{0})
		return string(s)
	}
	at := func(fd, name uint64) string {
		if s := text(name); !strings.HasPrefix(s, "/") {
			return path(fd) + "/" + s
		} else {
			return s
		}
	}
	switch n.nr {
	case unix.SYS_OPENAT:
		return "openat " + at(n.args[0], n.args[1])
	case unix.SYS_MKDIRAT:
		return "mkdirat " + at(n.args[0], n.args[1])
	case unix.SYS_UNLINKAT, unix.SYS_FCHOWNAT, unix.SYS_FCHMODAT, unix.SYS_UTIMENSAT:
		return fmt.Sprintf("%d %s", n.nr, at(n.args[0], n.args[1]))
	case unix.SYS_RENAMEAT2:
		return "renameat2 " + at(n.args[0], n.args[1]) + " " + at(n.args[2], n.args[3])
	case unix.SYS_WRITE:
		return "write " + path(n.args[0])
	case unix.SYS_PWRITE64:
		return "pwrite64 " + path(n.args[0])
	case unix.SYS_FSYNC:
		return "fsync " + path(n.args[0])
	case unix.SYS_FCHMOD:
		return "fchmod " + path(n.args[0])
	case unix.SYS_FCHOWN:
		return "fchown " + path(n.args[0])
	}
	return fmt.Sprintf("%d %s", n.nr, path(n.args[0]))
}
