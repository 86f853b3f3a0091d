package descriptor

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// private are the names on procfs that no guest may open, because the process
// that they tell about is the one that runs the guest (or another that the same
// user runs): its memory, where that is, and what it has open. A native program
// finds itself there; a guest would find its host.
var private = []string{
	"auxv", "clear_refs", "fd", "fdinfo", "kallsyms", "kcore", "kmsg", "map_files", "maps", "mem",
	"ns", "numa_maps", "pagemap", "patch_state", "smaps", "smaps_rollup", "stack", "syscall",
}

// openProc opens a path that leads to procfs. It walks, to learn the true names
// on the way. Nothing on procfs can be opened for writing: what is written
// there changes a process or the kernel.
func (t *Tree) openProc(d *Descriptor, p *kernel.Path, flags int) (int, unix.Errno) {
	if changes(flags) {
		return 0, unix.EACCES
	}
	w, last, e := t.resolve(d, string(p.Bytes()), flags&unix.O_NOFOLLOW == 0)
	defer w.drop()
	if e != 0 {
		return 0, e
	}
	for _, s := range w.held {
		if slices.Contains(private, s.name) && kernel.OnProc(s.fd) {
			return 0, unix.EACCES
		}
	}
	fd, e := w.open(last, flags, 0)
	if e != 0 {
		return 0, e
	}
	if name := trimSlash(last); slices.Contains(private, name) && kernel.OnProc(fd) {
		_ = kernel.Close(fd)
		return 0, unix.EACCES
	}
	return fd, 0
}

func trimSlash(name string) string {
	if n := len(name); n > 0 && name[n-1] == '/' {
		return name[:n-1]
	}
	return name
}
