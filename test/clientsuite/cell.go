package clientsuite

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cell is a command with its own processes, mounts and cgroups. The suite's
// daemon uses fixed paths, and its containers fixed names: so that two suites
// can run at once, and beside others' daemons, each has its own /run, /tmp,
// /opt and /var/lib, and its own root of each cgroup hierarchy. The end of its
// first process ends all of them, whatever they did.
type cell struct {
	// Dir holds what the cell writes, in tmp and lib. Its base name names the
	// cell's cgroups, which the owner of Dir removes.
	Dir string
	// Programs are directories of executables. The cell sees them as
	// programDir(0) and so on, and they come first in PATH.
	Programs []string
	// Args is the command, with paths that the cell sees; Cwd is its directory.
	Args []string
	Cwd  string
	// Env is added to the environment.
	Env []string
	// Watch are patterns of files that the command should not leave.
	Watch []string
}

// leftFile is where a cell says what its command left: processes, and files that
// Watch names; one a line.
const leftFile = "tmp/left"

// settleTime is how long ended containers may take to disappear.
const settleTime = 5 * time.Second

// cellVariable holds a cell as JSON in the environment of its first process.
const cellVariable = "CLIENT_SUITE_CELL"

func programDir(i int) string { return "/run/programs/" + strconv.Itoa(i) }

// start returns a command that runs the cell; the caller may set its output
// before starting it. It calls this executable again, whose main must begin
// with EnterCell.
func (c cell) start(ctx context.Context) (*exec.Cmd, error) {
	for _, dir := range []string{"tmp", "lib"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(filepath.Join(c.Dir, "tmp"), 0o777|fs.ModeSticky); err != nil {
		return nil, err
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), cellVariable+"="+string(b))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd, nil
}

// EnterCell does nothing, unless this process is the first one of a cell: then
// it runs the cell's command and exits as the command does.
func EnterCell() {
	text := os.Getenv(cellVariable)
	if text == "" {
		return
	}
	var c cell
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.build()
	}
	var code int
	if err == nil {
		code, err = c.run()
	}
	if err == nil {
		err = os.WriteFile("/"+leftFile, []byte(strings.Join(c.left(), "\n")), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "client suite:", err)
		code = 125
	}
	os.Exit(code)
}

// build makes the cell's mounts and cgroups.
func (c cell) build() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	hierarchies, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if err := joinNew(h, filepath.Base(c.Dir)); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/run", "/opt"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for i, dir := range c.Programs {
		if err := bind(dir, programDir(i)); err != nil {
			return err
		}
	}
	// /tmp last: the sources may be below it.
	if err := bind(filepath.Join(c.Dir, "lib"), "/var/lib"); err != nil {
		return err
	}
	return bind(filepath.Join(c.Dir, "tmp"), "/tmp")
}

func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}

// hierarchies returns the mount points of all cgroup hierarchies.
func hierarchies() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var points []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		mount, source, _ := strings.Cut(lines.Text(), " - ")
		if strings.HasPrefix(source, "cgroup") {
			points = append(points, strings.Fields(mount)[4])
		}
	}
	return points, lines.Err()
}

// joinNew makes a cgroup, moves this process there, and puts it in the place of
// the hierarchy's root.
func joinNew(hierarchy, name string) error {
	dir := filepath.Join(hierarchy, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	// A new cpuset of version 1 has no CPUs, and takes no process without.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, err := os.ReadFile(filepath.Join(hierarchy, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), b, 0)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	return bind(dir, hierarchy)
}

// run runs the command to its end as process 1 must: it waits for every process
// that lost its parent.
func (c cell) run() (code int, _ error) {
	path := os.Getenv("PATH")
	for i := range c.Programs {
		path = programDir(len(c.Programs)-1-i) + ":" + path
	}
	// exec.Cmd looks the program up in this process's PATH.
	if err := errors.Join(os.Unsetenv(cellVariable), os.Setenv("PATH", path)); err != nil {
		return 0, err
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Cwd
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// Its cgroups are the roots of what it sees in /proc/self/cgroup too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWCGROUP}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait for %s: %w", c.Args[0], err)
		case pid == cmd.Process.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == cmd.Process.Pid:
			return status.ExitStatus(), nil
		}
	}
}

// left returns what is there when the command has ended and still is when
// settleTime is over.
func (c cell) left() []string {
	for deadline := time.Now().Add(settleTime); ; time.Sleep(50 * time.Millisecond) { // no event tells
		for pid := 1; pid > 0; { // what ended meanwhile
			pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		}
		var found []string
		processes, _ := filepath.Glob("/proc/[0-9]*")
		for _, p := range processes {
			if p == "/proc/1" {
				continue
			}
			command, err := os.ReadFile(p + "/cmdline")
			if err != nil {
				continue
			}
			found = append(found, fmt.Sprintf("process %s in cgroup %s",
				strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " ")), deepestCgroup(p)))
		}
		for _, pattern := range c.Watch {
			files, _ := filepath.Glob(pattern)
			for _, f := range files {
				found = append(found, "file "+f)
			}
		}
		if len(found) == 0 || time.Now().After(deadline) {
			return found
		}
	}
}

// deepestCgroup tells whose a process is. A container may leave a hierarchy out.
func deepestCgroup(process string) string {
	groups, _ := os.ReadFile(process + "/cgroup")
	deepest := ""
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if group := fields[len(fields)-1]; len(group) > len(deepest) {
			deepest = group
		}
	}
	return deepest
}
