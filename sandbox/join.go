package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// JoinBy has the init move itself into the container's cgroup, by writing to these
// files "tasks" of hierarchies of v1, in their order. It is to be called before
// Command. An init that cannot reports it and ends.
func (c *Config) JoinBy(tasks []*os.File) { c.tasks, c.Tasks = tasks, len(tasks) }

// joinCgroup moves this thread. Those that the Go runtime has beside it stay where
// the shim is, until execve(2) ends them. The memory of the init is accounted for by
// the cgroup of this thread, and what it had before goes with that execve.
//
// The kernel asks for the privileges of who has opened the files.
func (c *Config) joinCgroup() error {
	for fd := control.TasksFD; fd < control.TasksFD+c.Tasks; fd++ {
		if _, err := descriptor(fd).Write([]byte("0")); err != nil {
			file, _ := os.Readlink(magic(fd))
			return fmt.Errorf("join the container's cgroup: write to %s: %w", file, err)
		}
		unix.Close(fd)
	}
	c.Tasks = 0
	return nil
}
