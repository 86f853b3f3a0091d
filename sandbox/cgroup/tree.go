package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// madeByUs marks a parent directory that this package made, so that whoever
// deletes the last container below it, perhaps another shim after a crash,
// removes it, and nobody removes a parent that kubelet or runc made.
const madeByUs = "trusted.containerd-shim-wasm"

// maxAttempts bounds races with somebody who removes empty parents.
const maxAttempts = 100

// makeDir makes path below the hierarchy mounted at mountpoint. enter is called
// for each parent that is passed and the path itself, outermost first, with its
// parent directory and itself.
//
// With fresh the last directory must be new: an empty one, left behind by a
// crash, is replaced, so that no limit of the past stays; fs.ErrExist says that
// it is in use.
func makeDir(mountpoint, path string, fresh bool, enter func(parent, dir string) error) error {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for range maxAttempts {
		if err := makeParts(mountpoint, parts, fresh, enter); !gone(err) {
			return err
		}
	}
	return fmt.Errorf("make cgroup %s: its parents are being removed", filepath.Join(mountpoint, path))
}

func makeParts(mountpoint string, parts []string, fresh bool, enter func(parent, dir string) error) error {
	dir := mountpoint
	for i, part := range parts {
		parent, leaf := dir, i == len(parts)-1
		dir = filepath.Join(dir, part)
		err := os.Mkdir(dir, 0o755)
		switch {
		case err == nil && !leaf:
			// Without the mark (user namespaces, old kernels) the directory
			// merely stays, as runc would leave it.
			_ = unix.Setxattr(dir, madeByUs, []byte{'1'}, 0)
		case err == nil:
		case errors.Is(err, fs.ErrExist) && leaf && fresh:
			if err := removeTree(dir); err != nil {
				return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
			}
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
		case errors.Is(err, fs.ErrExist):
			if st, err := os.Lstat(dir); err != nil {
				return err
			} else if !st.IsDir() {
				return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
			}
		default:
			return err
		}
		if err := enter(parent, dir); err != nil {
			return err
		}
	}
	return nil
}

// removeTree removes a cgroup and those below it. It fails with EBUSY while
// there are processes. A cgroup that is gone is no error.
func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	entries, readErr := os.ReadDir(dir)
	if readErr != nil {
		if errors.Is(readErr, fs.ErrNotExist) {
			return nil
		}
		return readErr
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// removeParents removes the parents of path that this package made and that are
// empty now, innermost first. One that somebody uses stays, and so do its parents.
func removeParents(mountpoint, path string) {
	for p := filepath.Dir(path); p != "/"; p = filepath.Dir(p) {
		dir := filepath.Join(mountpoint, p)
		if _, err := unix.Getxattr(dir, madeByUs, make([]byte, 1)); err != nil {
			return
		}
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return
		}
	}
}

// inheritCpuset gives a v1 cpuset the cpus and memory nodes of its parent where
// it has none: no process can join one without (kernel, cgroup-v1/cpusets.rst).
func inheritCpuset(parent, dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(have)) != 0 {
			continue
		}
		want, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, file), string(bytes.TrimSpace(want))); err != nil {
			return err
		}
	}
	return nil
}

// enableControllers makes what parent has available in the v2 cgroups below it,
// needed for limits and for metrics alike. A controller that cannot be enabled,
// for instance because processes live in parent, is missed by the setting that
// needs it and nowhere else.
func enableControllers(parent string) {
	file := filepath.Join(parent, "cgroup.subtree_control")
	controllers := controllersOf(parent)
	if len(controllers) == 0 || writeFile(file, "+"+strings.Join(controllers, " +")) == nil {
		return
	}
	for _, c := range controllers {
		_ = writeFile(file, "+"+c)
	}
}
