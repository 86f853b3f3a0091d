// Package census lists what a private containerd and its containers occupy on
// the machine, so that a test can say what is left of them: processes, mounts,
// cgroups, files and sockets.
//
// It knows what is theirs by marks: a variable in the environment, a containerd
// namespace used by nobody else, and a directory of their own.
package census

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Scope says what belongs to one daemon.
type Scope struct {
	// Mark is an entry KEY=VALUE that the daemon and its children have in their
	// environment.
	Mark string
	// Namespace is the containerd namespace of all its containers. It names a
	// cgroup in each hierarchy and a directory of runc's state.
	Namespace string
	// Dir holds everything that the daemon writes. Mounts below it are its own.
	Dir string
	// Programs is a directory of executables that run for this daemon only.
	Programs string
	// Watch are files and directories whose contents count.
	Watch []string
	// Ignore are the pids of processes that do not count, such as the daemon.
	Ignore []int
}

// Census is what there was at one moment: one line for each thing.
type Census []string

// Take counts. Things that vanish while it looks do not count.
func Take(s Scope) (Census, error) {
	var all Census
	pids, err := s.Processes()
	if err != nil {
		return nil, err
	}
	for _, p := range pids {
		all = append(all, fmt.Sprintf("process %d: %s", p, commandLine(p)))
	}
	mounts, err := s.Mounts()
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		all = append(all, "mount "+m)
	}
	for _, c := range s.Cgroups() {
		all = append(all, "cgroup "+c)
	}
	for _, w := range append(s.Watch, filepath.Join("/run/containerd/runc", s.Namespace)) {
		err := filepath.WalkDir(w, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			// The directory of a namespace stays when its last entry goes.
			if err != nil || d.IsDir() && (path == w || filepath.Base(path) == s.Namespace) {
				return err
			}
			all = append(all, "file "+path)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return all, nil
}

// Since returns what is in c and was not in the earlier census.
func (c Census) Since(earlier Census) []string {
	var left []string
	for _, line := range c {
		if _, found := slices.BinarySearch(earlier, line); !found {
			left = append(left, line)
		}
	}
	return left
}

// Processes returns the pids of all processes in the scope, zombies included.
func (s Scope) Processes() ([]int, error) {
	parents, err := allProcesses()
	if err != nil {
		return nil, err
	}
	ours := map[int]bool{}
	for pid := range parents {
		ours[pid] = pid != os.Getpid() && s.ownsProcess(pid)
	}
	// Children of theirs are theirs, whatever they did to their environment. A
	// zombie has no environment at all.
	for changed := true; changed; {
		changed = false
		for pid, ppid := range parents {
			if !ours[pid] && ours[ppid] {
				ours[pid], changed = true, true
			}
		}
	}
	var pids []int
	for pid, is := range ours {
		if is && !slices.Contains(s.Ignore, pid) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

func (s Scope) ownsProcess(pid int) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	if env, err := os.ReadFile(proc + "/environ"); err == nil && slices.Contains(strings.Split(string(env), "\x00"), s.Mark) {
		return true
	}
	if cg, err := os.ReadFile(proc + "/cgroup"); err == nil && bytes.Contains(cg, []byte("/"+s.Namespace+"/")) {
		return true
	}
	exe, err := os.Readlink(proc + "/exe")
	return err == nil && s.Programs != "" && strings.HasPrefix(exe, s.Programs+"/")
}

// allProcesses maps each pid to its parent's.
func allProcesses() (map[int]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	parents := map[int]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// The name in parentheses may hold anything; state and ppid follow.
		after := stat[bytes.LastIndexByte(stat, ')')+1:]
		var state string
		var ppid int
		if _, err := fmt.Sscan(string(after), &state, &ppid); err == nil {
			parents[pid] = ppid
		}
	}
	return parents, nil
}

func commandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	line := strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
	if line == "" {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		line = "(" + strings.TrimSpace(string(comm)) + ")"
	}
	return line
}

// Mounts returns the mount points below Dir, innermost first.
func (s Scope) Mounts() ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], s.Dir+"/") {
			points = append(points, f[4])
		}
	}
	slices.Reverse(points)
	return points, nil
}

// Cgroups returns the directories of the namespace's containers in all
// hierarchies, innermost first.
func (s Scope) Cgroups() []string {
	var dirs []string
	for _, root := range s.CgroupRoots() {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && path != root {
				dirs = append(dirs, path)
			}
			return nil
		})
	}
	slices.Reverse(dirs)
	return dirs
}

// CgroupRoots returns the namespace's own directory in each hierarchy, or with
// the unified one alone, the one.
func (s Scope) CgroupRoots() []string {
	var roots []string
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		found, _ := filepath.Glob(pattern + s.Namespace)
		roots = append(roots, found...)
	}
	return roots
}

// Descriptors returns how many file descriptors a process has open.
func Descriptors(pid int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries), err
}

// Sweep ends and removes everything in the scope but Dir itself, by force. It
// is what follows a failed test, or one that was killed.
func (s Scope) Sweep() error {
	pids, err := s.Processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("kill %d: %w", pid, err)
		}
	}
	for _, dir := range s.Cgroups() {
		// A frozen process does not die before it is thawed. Each of the two files
		// exists in one kind of hierarchy.
		_ = os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0)
		_ = os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("0"), 0)
	}
	mounts, err := s.Mounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if err := syscall.Unmount(m, syscall.MNT_DETACH); err != nil && err != syscall.EINVAL {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	return os.RemoveAll(filepath.Join("/run/containerd/runc", s.Namespace))
}

// RemoveCgroups removes the namespace's cgroups. It fails while processes are
// in them.
func (s Scope) RemoveCgroups() error {
	var errs []error
	for _, dir := range append(s.Cgroups(), s.CgroupRoots()...) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
