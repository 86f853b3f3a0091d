package preview1

import (
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/descriptor"
)

// How to look a path up and to open it (witx, lookupflags and oflags).
const (
	lookupFollow = 1

	openCreate    = 1
	openDirectory = 2
	openExclusive = 4
	openTruncate  = 8
)

// Modes of what is created, before the process's umask: a guest has no chmod.
const (
	fileMode = 0o666
	dirMode  = 0o777
)

// at reads the first path of a call and returns the directory that it starts
// from.
func (h *Host) at(fd, address, size uint64) (*descriptor.Descriptor, Errno) {
	d := h.fd(fd)
	if d == nil {
		return nil, errBadf
	}
	if d.Type != descriptor.Directory {
		return nil, errNotdir
	}
	return d, h.pathAt(&h.path, address, size)
}

// path_open(fd, lookup, path, path_len, oflags, base, inheriting, fdflags, fd*)
func pathOpen(h *Host, s []uint64) Errno {
	d, e := h.at(s[0], s[2], s[3])
	if e != success {
		return e
	}
	lookup, oflags, base, inheriting, fdflags := uint32(s[1]), uint32(s[4]), s[5], s[6], uint32(s[7])
	switch {
	case fdflags&^fdFlags != 0 || oflags&(openCreate|openDirectory) == openCreate|openDirectory:
		return errInval
	case !h.fits(s[8], 4):
		return errFault
	case d.Base&rightPathOpen == 0,
		oflags&openCreate != 0 && d.Base&rightPathCreateFile == 0,
		oflags&openTruncate != 0 && d.Base&rightPathFilestatSetSize == 0:
		return errNotcapable
	}
	flags := openFlags(uint16(fdflags)) | unix.O_NOCTTY | accessMode(base&d.Inheriting)
	if lookup&lookupFollow == 0 {
		flags |= unix.O_NOFOLLOW
	}
	for _, f := range [...]struct {
		oflag uint32
		flag  int
	}{{openCreate, unix.O_CREAT}, {openDirectory, unix.O_DIRECTORY}, {openExclusive, unix.O_EXCL}, {openTruncate, unix.O_TRUNC}} {
		if oflags&f.oflag != 0 {
			flags |= f.flag
		}
	}
	file, n, err := h.Descriptors.Open(d, &h.path, flags, fileMode)
	if err != 0 {
		return errno(err)
	}
	file.Base, file.Inheriting = base&d.Inheriting&rightsOf(file), inheriting&d.Inheriting
	// Guests ask for too little of a directory (Go's os.Root cannot create files
	// with what Go asks for), because no other host looks. What was given up
	// (fd_fdstat_set_rights) stays so.
	if file.Type == descriptor.Directory {
		file.Base, file.Inheriting = d.Inheriting&rightsDirectory, d.Inheriting
	}
	return h.put32(s[8], n)
}

// accessMode is O_RDONLY, O_WRONLY or O_RDWR for rights. Only the right to write
// asks for writing: Go wants to set the size of what it opens for reading.
// Opening without either
// serves to look at a file.
func accessMode(rights uint64) int {
	read := rights&(rightFdRead|rightFdReaddir) != 0
	write := rights&rightFdWrite != 0
	switch {
	case read && write:
		return unix.O_RDWR
	case write:
		return unix.O_WRONLY
	}
	return unix.O_RDONLY
}

// path_filestat_get(fd, lookup, path, path_len, filestat*)
func pathFilestatGet(h *Host, s []uint64) Errno {
	d, e := h.at(s[0], s[2], s[3])
	if e != success {
		return e
	}
	if e := d.StatAt(&h.path, uint32(s[1])&lookupFollow != 0, &h.stat); e != 0 {
		return errno(e)
	}
	return h.putStat(s[4], descriptor.TypeOf(h.stat.Mode))
}

// path_filestat_set_times(fd, lookup, path, path_len, atim, mtim, flags)
func pathFilestatSetTimes(h *Host, s []uint64) Errno {
	d, e := h.at(s[0], s[2], s[3])
	if e != success {
		return e
	}
	times, ok := fileTimes(s[4], s[5], uint32(s[6]))
	if !ok {
		return errInval
	}
	return errno(d.SetTimesAt(&h.path, uint32(s[1])&lookupFollow != 0, &times))
}

// path_readlink(fd, path, path_len, buf, buf_len, used*)
func pathReadlink(h *Host, s []uint64) Errno {
	d, e := h.at(s[0], s[1], s[2])
	if e != success {
		return e
	}
	b, ok := h.bytes(s[3], s[4])
	if !ok {
		return errFault
	}
	n, err := d.Readlink(&h.path, b)
	if err != 0 {
		return errno(err)
	}
	return h.put32(s[5], uint32(n))
}

// path_create_directory(fd, path, path_len)
func pathCreateDirectory(h *Host, s []uint64) Errno {
	d, e := h.at(s[0], s[1], s[2])
	if e != success {
		return e
	}
	return errno(d.Mkdir(&h.path, dirMode))
}

// path_remove_directory(fd, path, path_len)
func pathRemoveDirectory(h *Host, s []uint64) Errno {
	d, e := h.at(s[0], s[1], s[2])
	if e != success {
		return e
	}
	return errno(d.Unlink(&h.path, unix.AT_REMOVEDIR))
}

// path_unlink_file(fd, path, path_len)
func pathUnlinkFile(h *Host, s []uint64) Errno {
	d, e := h.at(s[0], s[1], s[2])
	if e != success {
		return e
	}
	return errno(d.Unlink(&h.path, 0))
}

// path_symlink(target, target_len, fd, path, path_len). As other hosts do, it
// makes no absolute link, though links that an image contains are followed.
func pathSymlink(h *Host, s []uint64) Errno {
	d, e := h.at(s[2], s[3], s[4])
	if e != success {
		return e
	}
	if e := h.pathAt(&h.to, s[0], s[1]); e != success {
		return e
	}
	if h.to.Bytes()[0] == '/' {
		return errPerm
	}
	return errno(d.Symlink(&h.to, &h.path))
}

// path_link(old_fd, lookup, old_path, old_path_len, new_fd, new_path, new_path_len)
func pathLink(h *Host, s []uint64) Errno {
	d, e := h.at(s[0], s[2], s[3])
	if e != success {
		return e
	}
	to, e := h.second(s[4], s[5], s[6])
	if e != success {
		return e
	}
	// No other host follows either.
	if uint32(s[1])&lookupFollow != 0 {
		return errInval
	}
	return errno(d.Link(&h.path, to, &h.to))
}

// path_rename(fd, path, path_len, new_fd, new_path, new_path_len)
func pathRename(h *Host, s []uint64) Errno {
	d, e := h.at(s[0], s[1], s[2])
	if e != success {
		return e
	}
	to, e := h.second(s[3], s[4], s[5])
	if e != success {
		return e
	}
	return errno(d.Rename(&h.path, to, &h.to))
}

// second is at for the second path of a call.
func (h *Host) second(fd, address, size uint64) (*descriptor.Descriptor, Errno) {
	d := h.fd(fd)
	if d == nil {
		return nil, errBadf
	}
	if d.Type != descriptor.Directory {
		return nil, errNotdir
	}
	return d, h.pathAt(&h.to, address, size)
}
