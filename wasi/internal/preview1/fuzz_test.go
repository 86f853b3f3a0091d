package preview1

import (
	"bytes"
	"encoding/binary"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
)

// functions lists every host function, as the source has them.
func functions(t testing.TB) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "functions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		clause, ok := n.(*ast.CaseClause)
		if !ok {
			return true
		}
		for _, e := range clause.List {
			name, err := strconv.Unquote(e.(*ast.BasicLit).Value)
			if err != nil || Signature(name) == "" {
				t.Fatalf("functions.go: %v is no function", e)
			}
			names = append(names, name)
		}
		return true
	})
	if len(names) < 60 {
		t.Fatalf("found only %d functions", len(names))
	}
	slices.Sort(names)
	return names
}

// secret is what a guest must never read.
const secret = "not for the guest: 5d0c1e7fa1"

// FuzzCalls makes calls of every host function with any parameters in any order.
// None may panic or hang, leak a descriptor, touch one that is not the guest's, or
// see or change a file outside of the guest's directory.
func FuzzCalls(f *testing.F) {
	calls := functions(f)
	f.Add([]byte{0})
	for i := range calls {
		f.Add(slices.Concat([]byte{byte(i)}, make([]byte, 40), []byte{byte(i), 3, 0, 8, 1}))
	}
	// Sequences that mean something: a path out of the directory by a link, a
	// descriptor that is closed and used, one number for two descriptors.
	for _, names := range [][]string{
		{"path_symlink", "path_open", "fd_read", "fd_readdir"}, {"fd_close", "fd_write", "fd_renumber", "fd_fdstat_set_flags"},
		{"sock_open", "sock_bind", "sock_listen", "sock_accept", "sock_recv_from", "sock_shutdown"}, {"fd_seek", "fd_pwrite", "fd_filestat_set_size", "fd_renumber"},
		{"sock_open", "sock_connect", "sock_setsockopt", "sock_send_to", "poll_oneoff", "proc_raise"},
	} {
		var b []byte
		for _, name := range names {
			b = slices.Concat(b, []byte{byte(slices.Index(calls, name))}, []byte{3, 1, 2, 3, 16, 1, 2, 3})
		}
		f.Add(b)
	}
	network := emptyNetwork(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if network >= 0 {
			// The thread ends with this goroutine, which never unlocks it.
			runtime.LockOSThread()
			if err := unix.Setns(network, unix.CLONE_NEWNET); err != nil {
				t.Fatal(err)
			}
		}
		top := t.TempDir()
		dir := filepath.Join(top, "guest")
		for name, data := range map[string]string{"outside": secret, "guest/a": "a", "guest/d/x": ""} {
			name = filepath.Join(top, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		others := openOthers(t, top)
		open := openDescriptors(t)
		t.Cleanup(func() {
			if now := openDescriptors(t); !slices.Equal(now, open) {
				t.Errorf("descriptors %v are open, and were %v", now, open)
			}
			others.check(t)
		})
		g := newGuest(t, dir)
		if _, e := g.h.Descriptors.AddInherited(others.null); e != 0 {
			t.Fatal(e)
		}
		g.h.resolver.Hosts, g.h.resolver.Conf, g.h.resolver.Port = dir+"/a", dir+"/a", 1
		// A small world, so that random numbers hit something.
		g.write(0, "a\x00/b/../../outside")
		for at := uint32(32); at < 4096; at += 8 {
			g.mem.WriteUint64Le(at, uint64(at%64)|uint64(at%16)<<32)
		}
		for n := 0; len(b) > 0 && n < 50; n++ {
			name := calls[int(b[0])%len(calls)]
			var stack []uint64
			stack, b = parameters(name, b[1:])
			if !tame(g, name, stack, network >= 0) {
				continue
			}
			if exited := callUntilExit(t, g, name, stack); exited {
				break
			}
		}
		if all, _ := g.mem.Read(0, g.mem.Size()); bytes.Contains(all, []byte(secret[:16])) {
			t.Error("the guest has read a file outside of its directory")
		}
	})
}

// parameters takes those of a call from b.
func parameters(name string, b []byte) (stack []uint64, rest []byte) {
	stack = make([]uint64, max(1, len(Signature(name))-2))
	for i := range stack {
		var word [8]byte
		m := copy(word[:], b)
		stack[i] = binary.LittleEndian.Uint64(word[:])
		// Mostly small numbers, now and then any.
		if word[0]%8 != 0 {
			stack[i] = uint64(word[0])<<4 | uint64(word[0]&7)
			m = min(1, m)
		}
		b = b[m:]
	}
	if fd := uint32(stack[0]); fd%3 != 0 {
		stack[0] = uint64(fd % 8)
	}
	return stack, b
}

// callUntilExit tells whether the call has ended the guest, as two may.
func callUntilExit(t *testing.T, g *guest, name string, stack []uint64) (exited bool) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case *sys.ExitError:
			exited = true
			if name != "proc_exit" && name != "proc_raise" {
				t.Errorf("%s has ended the guest with %d", name, v.ExitCode())
			}
		default:
			panic(v)
		}
	}()
	fn, _ := g.h.Function(name)
	fn.Call(t.Context(), g.m, stack)
	return false
}

// tame keeps a call from waiting for ever, or from filling the disk, which are
// a guest's right. It reports false for a call that must not be made: without a
// network of its own the test sends nothing.
func tame(g *guest, name string, stack []uint64, own bool) bool {
	switch name {
	case "poll_oneoff", "epoll_oneoff":
		// Always with a clock that is due.
		g.put(20000, 0, 0, 0, 0, clockMonotonic, 0, 0, 0, 0, 0, 0, 0)
		stack[0], stack[2] = 20000, stack[2]%4+1
	case "fd_allocate", "fd_filestat_set_size":
		stack[1], stack[len(stack)-1] = stack[1]%65536, stack[len(stack)-1]%65536
	}
	if d := g.h.fd(stack[0]); d != nil && d.IsSocket() {
		_ = d.SetFlags(unix.O_NONBLOCK)
	}
	return own || !strings.HasPrefix(name, "sock_connect") && !strings.HasPrefix(name, "sock_send") && name != "sock_getaddrinfo"
}

// emptyNetwork returns a network namespace from which nothing leads out, or -1 to
// who may not make one.
func emptyNetwork(f *testing.F) int {
	made := make(chan int)
	go func() {
		runtime.LockOSThread() // for ever: the thread is of no more use
		if unix.Unshare(unix.CLONE_NEWNET) != nil {
			made <- -1
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			fd = -1
		}
		made <- fd
	}()
	fd := <-made
	f.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// openDescriptors lists the numbers that this process has open.
func openDescriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// others are descriptors of the process that the guest does not have, or has only
// inherited, with what they were at first.
type others struct {
	null   int
	states map[int]state
}

type state struct {
	stat             unix.Stat_t
	flags, fdFlags   int
	offset, readable int
}

func openOthers(t *testing.T, top string) *others {
	t.Helper()
	o := &others{states: map[int]state{}}
	add := func(fd int, err error) int {
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		o.states[fd] = stateOf(t, fd)
		return fd
	}
	file := add(unix.Open(top+"/outside", unix.O_RDWR|unix.O_APPEND|unix.O_CLOEXEC, 0))
	if _, err := unix.Seek(file, 3, unix.SEEK_SET); err != nil {
		t.Fatal(err)
	}
	o.states[file] = stateOf(t, file)
	add(unix.Open(top, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0))
	o.null = add(unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(pair[0], []byte(secret))
	}
	add(pair[0], err)
	add(pair[1], err)
	return o
}

func stateOf(t *testing.T, fd int) (s state) {
	t.Helper()
	err := unix.Fstat(fd, &s.stat)
	s.stat.Atim = unix.Timespec{}
	if err == nil {
		s.flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	}
	if err == nil {
		s.fdFlags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	}
	if err != nil {
		t.Errorf("descriptor %d: %v", fd, err)
	}
	at, _ := unix.Seek(fd, 0, unix.SEEK_CUR)
	s.offset = int(at)
	s.readable, _ = unix.IoctlGetInt(fd, unix.TIOCINQ)
	return s
}

func (o *others) check(t *testing.T) {
	t.Helper()
	for fd, was := range o.states {
		if now := stateOf(t, fd); now != was {
			t.Errorf("descriptor %d, which is not the guest's, is %+v and was %+v", fd, now, was)
		}
	}
}
