package descriptor

import (
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// place is a directory and a name in it, for the system calls that do not
// follow a link in the last component.
type place struct {
	fd int
	// owned tells that the directory was opened for this.
	owned bool
	name  []byte
}

func (p *place) close() {
	if p.owned {
		_ = kernel.Close(p.fd)
	}
}

// place opens the directory in which a path's last component is. The path is
// cut there.
func (d *Descriptor) place(p *kernel.Path) (place, unix.Errno) {
	if e := d.check(p); e != 0 {
		return place{}, e
	}
	name, cut := p.Split()
	if !cut {
		return place{fd: d.fd, name: name}, 0
	}
	fd, e := d.openat(p, unix.O_PATH|unix.O_DIRECTORY, 0)
	if e != 0 {
		return place{}, e
	}
	return place{fd: fd, owned: true, name: name}, 0
}

// change is place for a call that changes the tree.
func (d *Descriptor) change(p *kernel.Path) (place, unix.Errno) {
	if d.ReadOnly() {
		return place{}, unix.EROFS
	}
	return d.place(p)
}

// lookup opens what a path names, to be looked at only.
func (d *Descriptor) lookup(p *kernel.Path, follow bool) (int, unix.Errno) {
	if e := d.check(p); e != 0 {
		return 0, e
	}
	flags := unix.O_PATH
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	return d.openat(p, flags, 0)
}

// simple tells that a path is one name, neither "." nor "..", without a slash.
func simple(b []byte) bool {
	if len(b) <= 2 && b[0] == '.' {
		return false
	}
	for _, c := range b {
		if c == '/' {
			return false
		}
	}
	return true
}

// StatAt is fstat(2) of what a path names.
func (d *Descriptor) StatAt(p *kernel.Path, follow bool, st *unix.Stat_t) unix.Errno {
	if d.Type == Directory && d.tree != nil && simple(p.Bytes()) {
		e := kernel.Fstatat(d.fd, p.Bytes(), st, unix.AT_SYMLINK_NOFOLLOW)
		if e != 0 || !follow || st.Mode&unix.S_IFMT != unix.S_IFLNK {
			return e
		}
	}
	fd, e := d.lookup(p, follow)
	if e != 0 {
		return e
	}
	e = kernel.Fstat(fd, st)
	_ = kernel.Close(fd)
	return e
}

// SetTimesAt sets the times of what a path names.
func (d *Descriptor) SetTimesAt(p *kernel.Path, follow bool, times *[2]unix.Timespec) unix.Errno {
	if d.ReadOnly() {
		return unix.EROFS
	}
	fd, e := d.lookup(p, follow)
	if e != 0 {
		return e
	}
	e = kernel.Utimensat(fd, times)
	_ = kernel.Close(fd)
	return e
}

// Readlink reads a symbolic link into b and cuts what does not fit.
func (d *Descriptor) Readlink(p *kernel.Path, b []byte) (int, unix.Errno) {
	fd, e := d.lookup(p, false)
	if e != 0 {
		return 0, e
	}
	n, e := kernel.Readlinkat(fd, kernel.Empty(), b)
	_ = kernel.Close(fd)
	// That is how readlinkat says that a descriptor is no link.
	if e == unix.ENOENT {
		e = unix.EINVAL
	}
	return n, e
}

// Mkdir makes a directory.
func (d *Descriptor) Mkdir(p *kernel.Path, mode uint32) unix.Errno {
	at, e := d.change(p)
	if e != 0 {
		return e
	}
	defer at.close()
	return kernel.Mkdirat(at.fd, at.name, mode)
}

// Unlink removes a file, or with AT_REMOVEDIR an empty directory.
func (d *Descriptor) Unlink(p *kernel.Path, flags int) unix.Errno {
	at, e := d.change(p)
	if e != 0 {
		return e
	}
	defer at.close()
	return kernel.Unlinkat(at.fd, at.name, flags)
}

// Symlink makes a symbolic link. What it says is checked when it is followed.
func (d *Descriptor) Symlink(target, p *kernel.Path) unix.Errno {
	at, e := d.change(p)
	if e != 0 {
		return e
	}
	defer at.close()
	return kernel.Symlinkat(target.Bytes(), at.fd, at.name)
}

// Link makes another name for a file, or for a symbolic link itself.
func (d *Descriptor) Link(p *kernel.Path, to *Descriptor, q *kernel.Path) unix.Errno {
	// The slash would make the kernel follow a link; no directory can be linked.
	if b := p.Bytes(); b[len(b)-1] == '/' {
		return unix.EPERM
	}
	return d.pair(p, to, q, kernel.Linkat)
}

// Rename moves a file or directory.
func (d *Descriptor) Rename(p *kernel.Path, to *Descriptor, q *kernel.Path) unix.Errno {
	return d.pair(p, to, q, kernel.Renameat)
}

func (d *Descriptor) pair(p *kernel.Path, to *Descriptor, q *kernel.Path, call func(int, []byte, int, []byte) unix.Errno) unix.Errno {
	from, e := d.change(p)
	if e != 0 {
		return e
	}
	defer from.close()
	into, e := to.change(q)
	if e != 0 {
		return e
	}
	defer into.close()
	return call(from.fd, from.name, into.fd, into.name)
}
