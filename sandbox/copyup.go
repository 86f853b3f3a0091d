package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// copyUp fills a new tmpfs with what the image has in the directory below it, as
// the mount option tmpcopyup wants: directories, files, symlinks and fifos with
// their owners, permissions and times. Devices and sockets are left out, and
// what other mounts have put there.
//
// Both trees are entered by descriptors and nothing is followed, so that an
// image, or who shares its files, cannot lead the copy elsewhere.
func copyUp(from, to int) error {
	// Whatever was opened to find the place cannot be read from.
	fd, err := unix.Open(magic(from), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	top, err := unix.Open(magic(to), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(top)
	return copyDirectory(fd, top, 0)
}

// maxDepth keeps an image from taking all descriptors of the init, of which
// every level holds two.
const maxDepth = 200

func copyDirectory(from, to, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("directories are nested more than %d deep: %w", maxDepth, unix.EINVAL)
	}
	names, err := list(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyEntry(from, to, name, depth); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	return setOwner(to, &st)
}

func list(dir int) (names []string, err error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(dir, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

func copyEntry(from, to int, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := unix.Mkdirat(to, name, 0o700); err != nil {
			return err
		}
		return copyOpened(from, to, name, unix.O_RDONLY|unix.O_DIRECTORY, unix.O_RDONLY|unix.O_DIRECTORY, func(from, to int) error {
			return copyDirectory(from, to, depth+1)
		})
	case unix.S_IFREG:
		// Not blocked by what is meanwhile a fifo.
		const source = unix.O_RDONLY | unix.O_NONBLOCK
		return copyOpened(from, to, name, source, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, copyFile)
	case unix.S_IFLNK:
		target, err := readlinkat(from, name)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(target, to, name); err != nil {
			return err
		}
		return unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	case unix.S_IFIFO:
		if err := unix.Mknodat(to, name, unix.S_IFIFO|0o600, 0); err != nil {
			return err
		}
		if err := unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		return unix.Fchmodat(to, name, st.Mode&0o7777, 0)
	}
	return nil
}

// copyOpened opens an entry in both directories. What another mount covers is
// left as it is in the copy, which is empty or not there.
func copyOpened(from, to int, name string, source, target uint64, do func(from, to int) error) error {
	const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV
	in, err := unix.Openat2(from, name, &unix.OpenHow{Flags: source | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: beneath})
	if err == unix.EXDEV {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(in)
	how := unix.OpenHow{Flags: target | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: beneath}
	if target&unix.O_CREAT != 0 {
		how.Mode = 0o600
	}
	out, err := unix.Openat2(to, name, &how)
	if err != nil {
		return err
	}
	defer unix.Close(out)
	return do(in, out)
}

func copyFile(from, to int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("it was exchanged meanwhile: %w", unix.EINVAL)
	}
	for {
		n, err := unix.Sendfile(to, from, nil, 1<<30)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return setOwner(to, &st)
		}
	}
}

// setOwner gives a copy the owner, and only then the permissions, some of which
// a change of owner takes away.
func setOwner(fd int, st *unix.Stat_t) error {
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, magic(fd), []unix.Timespec{st.Atim, st.Mtim}, 0)
}
