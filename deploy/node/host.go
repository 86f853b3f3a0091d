package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	continuity "github.com/containerd/continuity/fs"
)

// host is the machine that is worked on, as a directory. Paths that it takes are
// the host's own, absolute.
type host struct{ root string }

// resolve returns where the host finds the path, all symbolic links followed
// inside the host. Components that do not exist are kept.
func (h host) resolve(path string) (string, error) {
	p, err := continuity.RootPath(h.root, path)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", path, err)
	}
	return p, nil
}

// entry is resolve without following the last component.
func (h host) entry(path string) (string, error) {
	dir, err := h.resolve(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

// inside is the host's own name of a path that resolve returned.
func (h host) inside(resolved string) string {
	rel, err := filepath.Rel(h.root, resolved)
	if err != nil {
		return resolved
	}
	return filepath.Join("/", rel)
}

func (h host) exists(path string) bool {
	p, err := h.resolve(path)
	if err != nil {
		return false
	}
	_, err = os.Stat(p)
	return err == nil
}

// maxFile bounds what is read of a configuration file.
const maxFile = 4 << 20

// readFile returns a file's text; ok is false when there is none. The file has to
// be one that only root can change, because containerd executes what it names.
func (h host) readFile(path string) (text string, ok bool, _ error) {
	p, err := h.resolve(path)
	if err != nil {
		return "", false, err
	}
	fi, err := os.Stat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxFile {
		return "", false, fmt.Errorf("%s is no regular file of at most %d bytes; name containerd's configuration with --config", path, maxFile)
	}
	if err := onlyRoots(path, fi); err != nil {
		return "", false, err
	}
	b, err := os.ReadFile(p)
	return string(b), err == nil, err
}

// onlyRoots fails for what others than root can change.
func onlyRoots(path string, fi os.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner cannot be read", path)
	}
	if st.Uid != 0 || fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s belongs to uid %d with mode %04o, so that others than root decide what containerd runs; run `chown root %[1]s; chmod go-w %[1]s`",
			path, st.Uid, fi.Mode().Perm())
	}
	return nil
}

// checkDir fails when another than root can change what the directory holds, or the
// nearest directory above it that exists.
func (h host) checkDir(path string) error {
	for {
		p, err := h.resolve(path)
		if err != nil {
			return err
		}
		fi, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) && path != "/" {
			path = filepath.Dir(path)
			continue
		}
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return fmt.Errorf("%s is not a directory; remove it, or choose another place", path)
		}
		return onlyRoots(path, fi)
	}
}

// searchPath is PATH of what runs on the host.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// run runs a program of the host, in the host's file system, and returns its stdout.
func (h host) run(ctx context.Context, stdin []byte, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = "/", []string{searchPath}
	if h.root != "/" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: h.root}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, lastLine(stderr.String()))
	}
	return stdout.String(), nil
}

// lastLine is the line that says what went wrong, in programs that log before.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	s = s[strings.LastIndexByte(s, '\n')+1:]
	const most = 400
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
