package sandbox

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// FromProcess makes the Config of a further process in a running container, whose
// spec has the section linux. It enters the namespaces and the root of the container's init, to which pidfd
// refers, and builds nothing: mounts, hostname and sysctls are the container's.
// The process must be started with the pidfd at control.ContainerFD.
//
// Errors are FromSpec's, for the fields of process. Entering by pidfd needs
// Linux 5.8.
func FromProcess(p *specs.Process, linux *specs.Linux, pidfd *os.File, argv []string) (*Config, error) {
	if len(argv) == 0 {
		return nil, invalid("process.args is empty; name the module to run")
	}
	if err := refuseProcess(p); err != nil {
		return nil, err
	}
	c := &Config{Argv: argv, Enter: true, container: pidfd}
	if linux == nil {
		linux = &specs.Linux{}
	}
	if err := c.ownersOf(linux); err != nil {
		return nil, err
	}
	spec := &specs.Spec{Process: p}
	if err := c.process(spec, linux); err != nil {
		return nil, err
	}
	return c, c.labels(spec, &specs.Linux{})
}

// ownersOf takes over what a further process has to know about the namespaces
// that a process of several threads cannot enter.
func (c *Config) ownersOf(linux *specs.Linux) error {
	for _, ns := range linux.Namespaces {
		switch ns.Type {
		case specs.UserNamespace:
			ids, err := newIDMaps("linux", linux.UIDMappings, linux.GIDMappings)
			if err != nil {
				return err
			}
			c.User = &UserNamespace{IDs: ids}
		case specs.TimeNamespace:
			c.Time = &TimeNamespace{}
		}
	}
	return nil
}

// containerNamespaces are those that a thread can enter while there are others
// in its process.
const containerNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

func errContainerEnded() error {
	return control.Errorf(control.NotFound, "the container has ended; start it again")
}

// enterContainer joins the namespaces of the container's init. The pid namespace
// is not among them: Start has seen to it that this process was born there.
//
// By pidfd and in one call: paths with a pid could lead into the host's
// namespaces once that pid is another process's.
func enterContainer() error {
	switch err := unix.Setns(control.ContainerFD, containerNamespaces); err {
	case nil:
		return nil
	case unix.ESRCH:
		return errContainerEnded()
	case unix.EINVAL:
		return control.Errorf(control.Unavailable, "enter the container's namespaces: the node's kernel cannot enter them by pidfd; use Linux 5.8 or newer")
	default:
		return fmt.Errorf("enter the container's namespaces: %w", err)
	}
}
