package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/internal/landlock"
)

// Reach is a file, or a directory with everything beneath it, that the program
// may use.
type Reach struct {
	// Path is absolute in the container. What is not there, or cannot be opened
	// by the container's user, is passed over.
	Path string `json:"path"`
	// Write allows to change what is there, and not only to read it.
	Write bool `json:"write,omitempty"`
	// Control allows ioctl(2) on devices.
	Control bool `json:"control,omitempty"`
}

// LandlockABI is the version of Landlock that the kernel has, and that a
// Config's Landlock makes use of; 0 when there is none.
func LandlockABI() int { return landlock.ABI() }

// enterLandlock confines the thread to Config.Landlock. The one file that can be
// executed is the runner, which has no name in the container.
func (c *Config) enterLandlock() error {
	if c.Landlock == nil || landlock.ABI() == 0 {
		return nil
	}
	rules := []landlock.Rule{{FD: control.ProgramFD, Access: landlock.Execute | landlock.Read}}
	// Where none was passed the number may be a descriptor of the init's own,
	// which is close-on-exec.
	if flags, err := unix.FcntlInt(control.CacheFD, unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
		rules = append(rules, landlock.Rule{FD: control.CacheFD, Access: landlock.Read})
	}
	top, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's root: %w", err)
	}
	defer unix.Close(top)
	for _, r := range c.Landlock {
		fd, err := tree{fd: top, host: "/"}.open(r.Path, unix.O_PATH)
		if err != nil {
			continue
		}
		defer unix.Close(fd)
		access := landlock.Read
		if r.Write {
			access |= landlock.Change
		}
		if r.Control {
			access |= landlock.Control
		}
		rules = append(rules, landlock.Rule{FD: fd, Access: access})
	}
	return landlock.Restrict(rules)
}
