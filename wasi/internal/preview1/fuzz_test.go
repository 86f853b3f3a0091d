package preview1

import (
	"encoding/binary"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// calls are the functions that a fuzzer may call: all but those that wait as
// long as they are told to, or end the guest.
var calls = []string{
	"args_get", "args_sizes_get", "environ_get", "environ_sizes_get", "clock_res_get", "clock_time_get", "fd_advise", "fd_allocate",
	"fd_close", "fd_datasync", "fd_fdstat_get", "fd_fdstat_set_flags", "fd_fdstat_set_rights", "fd_filestat_get",
	"fd_filestat_set_size", "fd_filestat_set_times", "fd_pread", "fd_prestat_get", "fd_prestat_dir_name", "fd_pwrite",
	"fd_read", "fd_readdir", "fd_renumber", "fd_seek", "fd_sync", "fd_tell", "fd_write", "path_create_directory",
	"path_filestat_get", "path_filestat_set_times", "path_link", "path_open", "path_readlink", "path_remove_directory",
	"path_rename", "path_symlink", "path_unlink_file", "poll_oneoff", "sched_yield", "random_get", "sock_open", "sock_bind", "sock_listen",
	"sock_accept", "sock_accep$", "sock_recv", "sock_recv_from", "sock_recv_fro$", "sock_send", "sock_send_to", "sock_shutdown",
	"sock_getsockopt", "sock_setsockopt", "sock_getlocaladdr", "sock_getlocaladd$", "sock_getpeeraddr", "sock_getpeeradd$",
	"sock_getaddrinfo",
}

// FuzzCalls makes calls with any parameters in any order. None may panic, touch
// a descriptor that is not the guest's, or leave the guest's directory.
func FuzzCalls(f *testing.F) {
	f.Add([]byte{0})
	for i := range calls {
		f.Add(slices.Concat([]byte{byte(i)}, make([]byte, 40), []byte{byte(i), 3, 0, 8, 1}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/a", []byte("a"), 0o600); err != nil {
			t.Fatal(err)
		}
		mine, err := os.Open(dir + "/a")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = mine.Close() }()
		g := newGuest(t, dir)
		g.h.resolver.Hosts, g.h.resolver.Conf, g.h.resolver.Port = dir+"/a", dir+"/a", 1
		// A small world, so that random numbers hit something.
		g.write(0, "a\x00/b/../a")
		for at := uint32(16); at < 4096; at += 8 {
			g.mem.WriteUint64Le(at, uint64(at%64)|uint64(at%16)<<32)
		}
		for n := 0; len(b) > 0 && n < 50; n++ {
			name := calls[int(b[0])%len(calls)]
			b = b[1:]
			signature := Signature(name)
			stack := make([]uint64, max(1, len(signature)-2))
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
			tame(g, name, stack)
			fn, _ := g.h.Function(name)
			fn(t.Context(), g.m, stack)
		}
		if _, err := mine.Stat(); err != nil {
			t.Errorf("a descriptor of the process is gone: %v", err)
		}
	})
}

// tame keeps a call from waiting for ever, or from filling the disk, which are
// a guest's right.
func tame(g *guest, name string, stack []uint64) {
	switch name {
	case "poll_oneoff":
		// Always with a clock that is due.
		g.put(20000, 0, 0, 0, 0, clockMonotonic, 0, 0, 0, 0, 0, 0, 0)
		stack[0], stack[2] = 20000, stack[2]%4+1
	case "fd_allocate", "fd_filestat_set_size":
		stack[1], stack[len(stack)-1] = stack[1]%65536, stack[len(stack)-1]%65536
	}
	if d := g.h.fd(stack[0]); d != nil && d.IsSocket() {
		_ = d.SetFlags(unix.O_NONBLOCK)
	}
}
