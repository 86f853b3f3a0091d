package preview1

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkFile compares writing and reading a file through the host functions
// with the bare system calls.
func BenchmarkFile(b *testing.B) {
	dir := b.TempDir()
	g := newGuest(b, dir)
	fd := g.open("file", openCreate, rightsFile, 0)
	f, err := os.OpenFile(dir+"/file", os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, size := range []int{4 << 10, 64 << 10} {
		g.iovec(size)
		buf := make([]byte, size)
		name := map[int]string{4 << 10: "4K", 64 << 10: "64K"}[size]
		for _, call := range []string{"fd_pwrite", "fd_pread"} {
			b.Run(call+" "+name, func(b *testing.B) {
				fn, _ := g.h.Function(call)
				stack := make([]uint64, 5)
				ctx := b.Context()
				for b.Loop() {
					stack[0], stack[1], stack[2], stack[3], stack[4] = uint64(fd), atIovec, 1, 0, atResult
					fn.Call(ctx, g.m, stack)
				}
				b.SetBytes(int64(size))
			})
		}
		b.Run("pwrite "+name, func(b *testing.B) {
			for b.Loop() {
				_, _ = unix.Pwrite(int(f.Fd()), buf, 0)
			}
			b.SetBytes(int64(size))
		})
		b.Run("pread "+name, func(b *testing.B) {
			for b.Loop() {
				_, _ = unix.Pread(int(f.Fd()), buf, 0)
			}
			b.SetBytes(int64(size))
		})
	}
}
