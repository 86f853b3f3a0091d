package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Name is the node's host name, and Address its only one but the loopback's.
const (
	Name    = "node-1"
	Address = "172.30.0.2"
)

// The stages of this program, told to itself in the environment.
const (
	stageVariable = "CDWASM_NODE_STAGE"
	stageCgroup   = "cgroup" // joins its cgroups, whose namespace has to begin there
	stageInit     = "init"   // is pid 1: mounts, network, and orphans
	stageInside   = "inside" // is the program proper
)

// Config is what a node is made of.
type Config struct {
	// Dir is an empty directory for what the node writes, on a file system that
	// overlayfs can write to. Its base name is that of the node's cgroups.
	Dir string
	// Env is the environment inside.
	Env []string
}

// Inside tells whether this process is the program inside a node.
func Inside() bool { return os.Getenv(stageVariable) == stageInside }

// Stage is to be called first of all: in the processes that make a node it does
// their part and does not return.
func Stage() {
	var err error
	switch os.Getenv(stageVariable) {
	case stageCgroup:
		err = beginCgroupNamespace()
	case stageInit:
		var code int
		if code, err = beInit(); err == nil {
			os.Exit(code)
		}
	default:
		return
	}
	fmt.Fprintln(os.Stderr, "node:", err)
	os.Exit(125)
}

// Run runs this program with its arguments inside a new node. It returns the exit
// code. When ctx or this process ends, everything inside does.
func Run(ctx context.Context, c Config) (code int, err error) {
	// The parent-death signal is about the thread that starts the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(c.Env, stageVariable+"="+stageCgroup, dirVariable+"="+c.Dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		// An interrupt from the terminal is for the owner.
		Setpgid: true,
	}
	err = cmd.Run()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// dirVariable tells the inner stages of Config.Dir.
const dirVariable = "CDWASM_NODE_DIR"

// path is a path below the node's directory.
func path(elem ...string) string {
	return filepath.Join(append([]string{os.Getenv(dirVariable)}, elem...)...)
}

// again replaces this process by the same program in another stage.
func again(stage string) error {
	if err := os.Setenv(stageVariable, stage); err != nil {
		return err
	}
	// The file's real path, for its own next stage: /proc is another one there.
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	return syscall.Exec(exe, os.Args, os.Environ())
}
