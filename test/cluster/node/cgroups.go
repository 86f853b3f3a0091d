package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchy is one line of /proc/self/cgroup.
type hierarchy struct {
	// dir is its name below /sys/fs/cgroup; "" when there is only the unified one.
	dir string
	// controllers are its mount options; "" for the unified one.
	controllers string
}

func hierarchies() ([]hierarchy, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var all []hierarchy
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(line, ":")
		controllers, _, _ := strings.Cut(rest, ":")
		h := hierarchy{dir: strings.TrimPrefix(controllers, "name="), controllers: controllers}
		if controllers == "" {
			h.dir = "unified"
		}
		all = append(all, h)
	}
	if len(all) == 1 && all[0].controllers == "" {
		all[0].dir = ""
	}
	return all, nil
}

// beginCgroupNamespace puts this process into cgroups of the node's own and
// begins a namespace there.
func beginCgroupNamespace() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := join(filepath.Join(cgroupRoot, h.dir), filepath.Base(path())); err != nil {
			return fmt.Errorf("join a cgroup below %s: %w", h.dir, err)
		}
	}
	// The namespace is that of a thread, until execve makes it the process.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("begin a cgroup namespace: %w", err)
	}
	return again(stageInit)
}

func join(root, name string) error {
	dir := filepath.Join(root, name)
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return nil // a hierarchy that the machine has mounted nowhere
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// A v1 cpuset begins empty and can have no process.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, err := os.ReadFile(filepath.Join(root, file))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), b, 0)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0)
		}
		if err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
}

// mountCgroups shows the hierarchies from the namespace's roots.
func mountCgroups() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	if len(all) == 1 {
		if err := unix.Mount("cgroup2", cgroupRoot, "cgroup2", 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", cgroupRoot, err)
		}
		return delegateUnified()
	}
	if err := unix.Mount("cgroup", cgroupRoot, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", cgroupRoot, err)
	}
	for _, h := range all {
		dir, kind, options := filepath.Join(cgroupRoot, h.dir), "cgroup", h.controllers
		switch {
		case h.controllers == "":
			kind = "cgroup2"
		case h.controllers != h.dir:
			options = "none," + h.controllers // a hierarchy with a name
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(kind, dir, kind, 0, options); err != nil {
			return fmt.Errorf("mount the cgroups of %q: %w", options, err)
		}
		// Those that share a hierarchy are found by each one's name.
		if names := strings.Split(h.dir, ","); len(names) > 1 {
			for _, name := range names {
				if err := os.Symlink(h.dir, filepath.Join(cgroupRoot, name)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// delegateUnified lets the children of the namespace's root have controllers,
// which takes that no process is in the root itself.
func delegateUnified() error {
	leaf := filepath.Join(cgroupRoot, "init")
	if err := os.Mkdir(leaf, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(b)) {
		if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("delegate %s: %w", c, err)
		}
	}
	return nil
}
