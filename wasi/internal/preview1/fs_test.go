package preview1

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestVectorsGoStraightToTheKernel(t *testing.T) {
	dir := t.TempDir()
	g := newGuest(t, dir)
	fd := g.open("file", openCreate, rightsFile, 0)
	g.write(atData, "abcdef")
	g.put(atIovec, atData, 2, atData+4, 2, atData, 0)
	g.ok("fd_write", fd, atIovec, 3, atResult)
	if b, err := os.ReadFile(filepath.Join(dir, "file")); string(b) != "abef" || err != nil || g.u32(atResult) != 4 {
		t.Errorf("the file holds %q, %v", b, err)
	}
	g.ok("fd_pwrite", fd, atIovec, 1, uint64(10), atResult)
	g.put(atIovec, atData+100, 3, atData+200, 100)
	g.ok("fd_pread", fd, atIovec, 2, uint64(1), atResult)
	if got := string(g.bytesAt(atData+100, 3)) + string(g.bytesAt(atData+200, int(g.u32(atResult))-3)); got != "bef\x00\x00\x00\x00\x00\x00ab" {
		t.Errorf("read %q", got)
	}
	// 1024 vectors are as many as Linux takes.
	for i := range 1025 {
		g.put(20000+8*i, atData, 1)
	}
	g.ok("fd_pwrite", fd, 20000, 1024, uint64(0), atResult)
	if g.u32(atResult) != 1024 {
		t.Errorf("wrote %d", g.u32(atResult))
	}
	for _, name := range []string{"fd_write", "fd_read"} {
		g.want(errInval, name, fd, 20000, 1025, atResult)
		g.want(errInval, name, fd, 20000, -1, atResult)
		g.want(errFault, name, fd, 4<<16-7, 1, atResult)
		g.put(atIovec, 4<<16-1, 2)
		g.want(errFault, name, fd, atIovec, 1, atResult)
		g.put(atIovec, 0xffff_ffff, 0xffff_ffff)
		g.want(errFault, name, fd, atIovec, 1, atResult)
	}
	g.ok("fd_read", fd, atIovec, 0, atResult)
	g.put(atIovec, atData, 1)
	g.want(errInval, "fd_pread", fd, atIovec, 1, uint64(1)<<63, atResult)
}

func TestReaddirPositions(t *testing.T) {
	dir := t.TempDir()
	g := newGuest(t, dir)
	want := map[string]byte{".": 3, "..": 3, "dir": 3, "link": 7}
	if err := os.Mkdir(dir+"/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("x", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		name := fmt.Sprintf("file-%03d-%s", i, strings.Repeat("x", i%100))
		want[name] = 4
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fd := g.open(".", openDirectory, rightsDirectory, 0)
	other := g.open("dir", openDirectory, rightsDirectory, 0)
	type entry struct {
		next uint64
		name string
		kind byte
	}
	readAll := func(cookie uint64, size int) (entries []entry) {
		for {
			g.ok("fd_readdir", fd, atData, size, cookie, atResult)
			b := g.bytesAt(atData, int(g.u32(atResult)))
			full := len(b) == size
			for len(b) >= dirent {
				n := int(le32(b[16:]))
				if len(b) < dirent+n {
					break
				}
				entries = append(entries, entry{le64(b), string(b[dirent : dirent+n]), b[20]})
				cookie = le64(b)
				b = b[dirent+n:]
			}
			if !full {
				return entries
			}
			// A reader of another directory in between, and the beginning again.
			g.ok("fd_readdir", other, atData, size, uint64(0), atResult)
		}
	}
	for _, size := range []int{200, 4096, 60000} {
		got := map[string]byte{}
		entries := readAll(0, size)
		for _, e := range entries {
			got[e.name] = e.kind
		}
		if len(entries) != len(want) || len(got) != len(want) {
			t.Errorf("with %d bytes: %d entries, %d names, want %d", size, len(entries), len(got), len(want))
		}
		for name, kind := range want {
			if got[name] != kind {
				t.Errorf("with %d bytes: %s has type %d, want %d", size, name, got[name], kind)
			}
		}
		// Positions stay valid when entries go.
		middle := len(entries) / 2
		rest := readAll(entries[middle].next, 512)
		if !slices.Equal(rest, entries[middle+1:]) {
			t.Errorf("with %d bytes: from the middle there are %d entries, want %d", size, len(rest), len(entries)-middle-1)
		}
	}
	g.want(errNotdir, "fd_readdir", 0, atData, 100, uint64(0), atResult)
	g.want(errInval, "fd_readdir", fd, atData, 100, uint64(1)<<63, atResult)
	g.ok("fd_readdir", fd, atData, 0, uint64(0), atResult)
	if err := os.Remove(dir + "/dir"); err != nil {
		t.Fatal(err)
	}
	g.ok("fd_readdir", other, atData, 100, uint64(0), atResult)
}

func TestTimesAndSizes(t *testing.T) {
	dir := t.TempDir()
	g := newGuest(t, dir)
	fd := g.open("file", openCreate, rightsFile, 0)
	g.ok("fd_filestat_set_size", fd, uint64(1234))
	g.ok("fd_filestat_set_times", fd, uint64(1_500_000_001), uint64(3), setAtim|setMtim)
	g.ok("fd_filestat_get", fd, atResult)
	b := g.bytesAt(atResult, 64)
	if b[16] != 4 || le64(b[24:]) != 1 || le64(b[32:]) != 1234 || le64(b[40:]) != 1_500_000_001 || le64(b[48:]) != 3 {
		t.Errorf("filestat: % x", b)
	}
	g.write(atPath, "file")
	g.ok("path_filestat_set_times", 3, 0, atPath, 4, uint64(9), uint64(0), setAtim)
	g.ok("path_filestat_get", 3, 0, atPath, 4, atResult)
	if b := g.bytesAt(atResult, 64); le64(b[40:]) != 9 || le64(b[48:]) != 3 {
		t.Errorf("after setting one: % x", b[40:56])
	}
	g.ok("fd_filestat_set_times", fd, uint64(0), uint64(0), setMtimNow)
	g.ok("fd_filestat_get", fd, atResult)
	if b := g.bytesAt(atResult, 64); le64(b[40:]) != 9 || le64(b[48:]) < 1e18 {
		t.Errorf("now: % x", b[40:56])
	}
	for _, flags := range []int{setAtim | setAtimNow, setMtim | setMtimNow, 16} {
		g.want(errInval, "fd_filestat_set_times", fd, uint64(0), uint64(0), flags)
	}
	for _, name := range []string{"fd_filestat_set_size", "fd_allocate"} {
		params := []any{fd, uint64(1) << 63}
		if name == "fd_allocate" {
			params = append(params, uint64(1))
		}
		g.want(errInval, name, params...)
	}
}

func TestNonblockingPipesByPath(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, dir)
	r := g.open("fifo", 0, rightFdRead|rightFdFdstatSetFlags, fdNonblock)
	w := g.open("fifo", 0, rightFdWrite, fdNonblock)
	g.iovec(10)
	g.want(6, "fd_read", r, atIovec, 1, atResult)
	g.ok("fd_write", w, atIovec, 1, atResult)
	g.ok("fd_read", r, atIovec, 1, atResult)
	// Without the flag the read waits.
	g.ok("fd_fdstat_set_flags", r, 0)
	d := g.h.Descriptors.Get(uint32(w))
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = d.Writev([]unix.Iovec{{Base: &[]byte{'x'}[0], Len: 1}})
	}()
	g.ok("fd_read", r, atIovec, 1, atResult)
	<-written
	if g.u32(atResult) != 1 {
		t.Errorf("read %d", g.u32(atResult))
	}
}

func TestFlagsOfFiles(t *testing.T) {
	dir := t.TempDir()
	g := newGuest(t, dir)
	fd := g.open("file", openCreate, rightsFile, fdAppend|fdDsync)
	flags := func() int {
		g.ok("fd_fdstat_get", fd, atResult)
		return int(binary.LittleEndian.Uint16(g.bytesAt(atResult+2, 2)))
	}
	if flags() != fdAppend|fdDsync {
		t.Errorf("flags %#x", flags())
	}
	g.iovec(3)
	g.write(atData, "abc")
	g.ok("fd_fdstat_set_flags", fd, fdSyncFlag|fdDsync|fdNonblock)
	if flags() != fdSyncFlag|fdNonblock {
		t.Errorf("flags %#x", flags())
	}
	// The kernel does not know of the later O_SYNC; writing works all the same.
	g.ok("fd_write", fd, atIovec, 1, atResult)
	g.ok("fd_pwrite", fd, atIovec, 1, uint64(1), atResult)
	if b, _ := os.ReadFile(dir + "/file"); !bytes.Equal(b, []byte("aabc")) {
		t.Errorf("the file holds %q", b)
	}
	g.want(errInval, "fd_fdstat_set_flags", fd, 32)
}

func TestArgumentsAndEnvironment(t *testing.T) {
	g := newGuest(t, "")
	g.ok("args_sizes_get", atResult, atResult+4)
	g.ok("environ_sizes_get", atResult+8, atResult+12)
	if !bytes.Equal(g.bytesAt(atResult, 16), []byte{2, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0}) {
		t.Errorf("% x", g.bytesAt(atResult, 16))
	}
	g.ok("args_get", atOther, atData)
	g.ok("environ_get", atOther+8, atData+6)
	if got := string(g.bytesAt(atData, 10)); got != "app\x00x\x00A=b\x00" || g.u32(atOther) != atData || g.u32(atOther+4) != atData+4 || g.u32(atOther+8) != atData+6 {
		t.Errorf("%q at %x", got, g.bytesAt(atOther, 12))
	}
	g.want(errFault, "args_get", 4<<16-7, atData)
	g.want(errFault, "args_get", atOther, 4<<16-5)
}

// TestNothingAllocates runs every kind of call in its steady state.
func TestNothingAllocates(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, dir)
	client, server := g.connection()
	a, b := g.socket(familyInet4, kindDgram), g.socket(familyInet4, kindDgram)
	g.addr(loopback4...)
	g.ok("sock_bind", b, atAddress, 0)
	port := g.localPort(b)
	file := g.open("file", 0, rightsFile, 0)
	listing := g.open(".", openDirectory, rightsDirectory, 0)
	g.iovec(100)
	g.write(atPath, "file./filed/../file")
	g.sub(0, eventFdRead, server)
	g.sub(1, eventFdWrite, client)
	g.subClock(2, clockMonotonic, 0, false)
	g.addr(loopback4...)
	storage := func() { g.put(atAddress, atStorage, 128) }
	for _, c := range [][]any{
		{"fd_write", 1, atIovec, 1, atResult},
		{"fd_read", 0, atIovec, 1, atResult},
		{"fd_pread", file, atIovec, 1, uint64(0), atResult},
		{"fd_pwrite", file, atIovec, 1, uint64(0), atResult},
		{"fd_seek", file, uint64(0), 0, atResult},
		{"fd_tell", file, atResult},
		{"fd_fdstat_get", file, atResult},
		{"fd_fdstat_set_flags", file, fdNonblock},
		{"fd_filestat_get", file, atResult},
		{"fd_readdir", listing, atData, 300, uint64(0), atResult},
		{"path_filestat_get", 3, 1, atPath, 4, atResult},
		{"path_filestat_get", 3, 1, atPath + 4, 1, atResult},
		{"clock_time_get", clockRealtime, uint64(0), atResult},
		{"clock_time_get", clockMonotonic, uint64(0), atResult},
		{"clock_time_get", clockProcessCPU, uint64(0), atResult},
		{"random_get", atData, 64},
		{"sched_yield"},
		{"args_get", atOther, atData},
		{"poll_oneoff", atSubs, atEvents, 3, atResult},
		{"sock_send_to", a, atIovec, 1, atAddress, port, 0, atResult},
		{"fd_read", b, atIovec, 1, atResult},
		{"sock_getsockopt", client, 0, 1, atResult, 4},
	} {
		name, params := c[0].(string), c[1:]
		f, _ := g.h.Function(name)
		stack := make([]uint64, max(1, len(params)))
		ctx := t.Context()
		if n := testing.AllocsPerRun(20, func() {
			for i, p := range params {
				switch p := p.(type) {
				case int:
					stack[i] = uint64(p)
				case uint64:
					stack[i] = p
				}
			}
			f.Call(ctx, g.m, stack)
			if stack[0] != 0 {
				t.Fatalf("%v: %d", c, stack[0])
			}
		}); n != 0 {
			t.Errorf("%v allocates %v times", c, n)
		}
	}
	// What comes in pairs.
	storage()
	run := func(what string, calls func()) {
		t.Helper()
		calls()
		if n := testing.AllocsPerRun(20, calls); n != 0 {
			t.Errorf("%s allocates %v times", what, n)
		}
	}
	stack, ctx := make([]uint64, 9), t.Context()
	raw := func(name string) func(params ...uint64) {
		f, _ := g.h.Function(name)
		return func(params ...uint64) {
			copy(stack, params)
			f.Call(ctx, g.m, stack)
			if stack[0] != 0 {
				t.Fatalf("%s: %d", name, stack[0])
			}
		}
	}
	send, recv, local, peer := raw("sock_send"), raw("sock_recv"), raw("sock_getlocaladdr"), raw("sock_getpeeraddr")
	run("send and receive", func() {
		send(uint64(client), atIovec, 1, 0, atResult)
		recv(uint64(server), atIovec, 1, 0, atResult, atOther)
	})
	run("addresses", func() {
		local(uint64(client), atAddress, atResult)
		peer(uint64(client), atAddress, atResult)
	})
	open, closeFd := raw("path_open"), raw("fd_close")
	run("open and close", func() {
		open(3, 1, atPath, 4, 0, rightsFile, 0, 0, atResult)
		closeFd(uint64(g.u32(atResult)))
	})
	mkdir, rmdir := raw("path_create_directory"), raw("path_remove_directory")
	g.write(atPath, "./new")
	run("make and remove a directory", func() {
		mkdir(3, atPath, 5)
		rmdir(3, atPath, 5)
	})
	l, port := g.listener()
	g.addr(loopback4...)
	sock, connect, accept := raw("sock_open"), raw("sock_connect"), raw("sock_accept")
	run("connect, accept and close", func() {
		sock(familyInet4, kindStream, atResult)
		connect(uint64(g.u32(atResult)), atAddress, uint64(port))
		accept(uint64(l), 0, atOther)
		closeFd(uint64(g.u32(atResult)))
		closeFd(uint64(g.u32(atOther)))
	})
}
