package descriptor

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/wasi/internal/kernel"
)

// walk is the resolution of a path without openat2, one component at a time:
// every directory on the way is held open, ".." goes back to the one before
// (never to what the kernel calls its parent, which a rename may have changed),
// and symbolic links are read and taken for text.
type walk struct {
	tree *Tree
	// held are the directories from where the walk began; the first is borrowed.
	held []step
	// atRoot tells that the first is the tree's root.
	atRoot bool
	// rest is what is left of the path.
	rest  []string
	links int
}

type step struct {
	fd   int
	name string
}

// maxLinks is how many symbolic links a path may have, as in Linux.
const maxLinks = 40

// resolve walks to the directory of a path's last component. The component is
// no symbolic link if links are followed, or it was not one a moment ago: open
// it with O_NOFOLLOW. It is "." when the path ends in a directory on the way.
// The caller closes the walk.
func (t *Tree) resolve(d *Descriptor, path string, follow bool) (w *walk, last string, e unix.Errno) {
	w = &walk{tree: t, held: []step{{fd: d.fd}}, atRoot: d.atRoot, rest: strings.Split(path, "/")}
	for {
		name := w.rest[0]
		w.rest = w.rest[1:]
		isLast := true
		for _, r := range w.rest {
			isLast = isLast && r == ""
		}
		switch name {
		case "", ".":
			if isLast {
				return w, ".", 0
			}
			continue
		case "..":
			if e := w.up(); e != 0 {
				return w, "", e
			}
			if isLast {
				return w, ".", 0
			}
			continue
		}
		slash := len(w.rest) > 0
		if isLast && !follow && !slash {
			return w, name, 0
		}
		more, e := w.enter(name, isLast)
		if e != 0 {
			return w, "", e
		}
		if isLast && !more {
			if slash {
				name += "/"
			}
			return w, name, 0
		}
	}
}

// up goes back one directory.
func (w *walk) up() unix.Errno {
	if len(w.held) == 1 {
		if w.tree.InRoot && w.atRoot {
			return 0
		}
		return unix.EPERM
	}
	top := len(w.held) - 1
	_ = kernel.Close(w.held[top].fd)
	w.held = w.held[:top]
	return 0
}

// enter goes into a directory, or puts what a symbolic link says before the
// rest of the path. It reports false for a last component that is not a link,
// and does not enter that.
func (w *walk) enter(name string, last bool) (more bool, e unix.Errno) {
	fd, e := kernel.Openat(w.top(), cstring(name), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if e == unix.ENOENT && last {
		return false, 0 // It may be there to be made.
	}
	if e != 0 {
		return false, e
	}
	var st unix.Stat_t
	if e := kernel.Fstat(fd, &st); e != 0 {
		_ = kernel.Close(fd)
		return false, e
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFLNK {
		e := unix.ELOOP
		if !w.magic(name) || !kernel.OnProc(fd) {
			e = w.expand(fd)
		}
		_ = kernel.Close(fd)
		return true, e
	}
	if last {
		_ = kernel.Close(fd)
		return false, 0
	}
	if kind != unix.S_IFDIR {
		_ = kernel.Close(fd)
		return false, unix.ENOTDIR
	}
	w.held = append(w.held, step{fd, name})
	return true, 0
}

// magic tells whether a link, if it is on procfs, is one of those that lead to
// a file. Others, such as self and mounts, are as good as anywhere else.
func (w *walk) magic(name string) bool {
	return name == "exe" || name == "cwd" || name == "root" || slices.Contains(private, w.held[len(w.held)-1].name)
}

func (w *walk) expand(link int) unix.Errno {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	b := make([]byte, kernel.MaxPath)
	n, e := kernel.Readlinkat(link, kernel.Empty(), b)
	if e != 0 {
		return e
	}
	target := string(b[:n])
	switch {
	case target == "":
		return unix.ENOENT
	case target[0] == '/' && !w.tree.InRoot:
		return unix.EPERM
	case target[0] == '/':
		w.drop()
		w.held, w.atRoot = []step{{fd: w.tree.root}}, true
	}
	w.rest = append(strings.Split(target, "/"), w.rest...)
	return 0
}

func (w *walk) top() int { return w.held[len(w.held)-1].fd }

// drop closes what the walk opened.
func (w *walk) drop() {
	for _, s := range w.held[1:] {
		_ = kernel.Close(s.fd)
	}
	w.held = w.held[:1]
}

// openWalking is openat without openat2.
func (t *Tree) openWalking(d *Descriptor, p *kernel.Path, flags int, mode uint32) (int, unix.Errno) {
	path := string(p.Bytes())
	follow := flags&unix.O_NOFOLLOW == 0 && flags&(unix.O_CREAT|unix.O_EXCL) != unix.O_CREAT|unix.O_EXCL
	for range maxRaces {
		w, last, e := t.resolve(d, path, follow)
		if e != 0 {
			w.drop()
			return 0, e
		}
		fd, e := w.open(last, flags, mode)
		w.drop()
		// Since it was seen, it became a link.
		if e == unix.ELOOP && follow {
			continue
		}
		return fd, e
	}
	return 0, unix.ELOOP
}

// open opens the last component of a walk. A slash behind it would make the
// kernel follow a link, so that it becomes a condition.
func (w *walk) open(last string, flags int, mode uint32) (int, unix.Errno) {
	if name, slash := strings.CutSuffix(last, "/"); slash {
		if flags&unix.O_CREAT != 0 {
			return 0, unix.EISDIR
		}
		last, flags = name, flags|unix.O_DIRECTORY
	}
	return kernel.Openat(w.top(), cstring(last), flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
}

// cstring returns a name with a NUL behind.
func cstring(s string) []byte {
	b := make([]byte, len(s)+1)
	return b[:copy(b, s)]
}
