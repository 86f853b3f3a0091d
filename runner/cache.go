package runner

import (
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func isDirectory(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// inheritedCache returns a path to the directory of compiled code behind a
// descriptor, or nothing when it cannot be trusted to be that: wazero takes
// paths only, and what it loads from there is native code. The sandbox's root
// comes from an image, so that /proc must be seen to be the kernel's.
func inheritedCache(fd int) string {
	var inherited, byPath unix.Stat_t
	if unix.Fstat(fd, &inherited) != nil {
		return ""
	}
	var fs unix.Statfs_t
	if unix.Statfs("/proc/self/fd", &fs) != nil || fs.Type != unix.PROC_SUPER_MAGIC {
		return ""
	}
	path := "/proc/self/fd/" + strconv.Itoa(fd)
	if unix.Stat(path, &byPath) != nil || byPath.Dev != inherited.Dev || byPath.Ino != inherited.Ino {
		return ""
	}
	return path
}

// compiledFiles lists the files of compiled code in a directory. It reads directories
// itself, because package os would set up its poller for each.
func compiledFiles(dir string) []string {
	suffix := "-" + runtime.GOARCH + "-" + runtime.GOOS
	var files []string
	for _, name := range readDir(dir) {
		if strings.HasPrefix(name, "wazero-") && strings.HasSuffix(name, suffix) {
			for _, file := range readDir(dir + "/" + name) {
				files = append(files, dir+"/"+name+"/"+file)
			}
		}
	}
	return files
}

// readDir returns the first names in a directory, and none when it cannot be
// read.
func readDir(path string) []string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 2<<10)
	n, err := unix.ReadDirent(fd, buf)
	if err != nil || n <= 0 {
		return nil
	}
	_, _, names := unix.ParseDirent(buf[:n], -1, nil)
	return names
}
