package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// setting is one field of linux.resources as the kernel wants it.
type setting struct {
	// field is the name below linux.resources, for messages.
	field string
	// controller owns the files.
	controller string
	// writes are alternatives in order of preference: the first whose file
	// exists is made, such as io.bfq.weight before io.weight.
	writes []write
	// optional is set where the absence of the file means the very thing that
	// is asked for.
	optional bool
}

// write is one write(2) to one control file.
type write struct{ file, text string }

func refuse(field, format string, args ...any) error {
	return control.Errorf(control.InvalidArgument, "linux.resources.%s %s", field, fmt.Sprintf(format, args...))
}

// check refuses settings for which the host has no controller at all, before
// anything is made. On v2 that is known only once the cgroup exists.
func (h *host) check(plan []setting) error {
	for _, s := range plan {
		if _, ok := h.dir(s.controller, "/"); !ok && !s.optional {
			return refuse(s.field, "needs the cgroup controller %q, which is not mounted on this node (cgroup v1); mount it or remove the limit", s.controller)
		}
	}
	return nil
}

// apply writes one setting into the cgroup at path.
func (h *host) apply(path string, s setting) error {
	dir, ok := h.dir(s.controller, path)
	if !ok {
		return nil // optional, or check has refused it
	}
	for _, w := range s.writes {
		err := writeFile(filepath.Join(dir, w.file), w.text)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.ENOENT):
			continue
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE), errors.Is(err, unix.ENODEV),
			errors.Is(err, unix.ENXIO), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSPC):
			return refuse(s.field, "is not acceptable to the kernel: it answered %q to %q in %s; correct or remove it",
				errnoOf(err), w.text, w.file)
		case errors.Is(err, unix.EBUSY): // a v1 memory limit that reclaim cannot reach
			return refuse(s.field, "cannot be applied while the container uses more: the kernel answered %q to %q in %s; choose a higher value",
				errnoOf(err), w.text, w.file)
		default:
			return fmt.Errorf("set linux.resources.%s: %w", s.field, err)
		}
	}
	if s.optional {
		return nil
	}
	if h.unified() && !slices.Contains(controllersOf(dir), s.controller) {
		return refuse(s.field, "needs the cgroup controller %q, which is not available in %s (cgroup v2: see its cgroup.controllers); enable it in the parents or remove the limit", s.controller, dir)
	}
	return refuse(s.field, "needs the control file %s, which this kernel does not have; remove it", s.writes[0].file)
}

// controllersOf lists what cgroup.controllers of a v2 cgroup names.
func controllersOf(dir string) []string {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

// writeFile writes text with one write(2), as control files need it, and never
// creates: O_CREAT turns "no such file" into "permission denied" on cgroupfs.
func writeFile(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

func errnoOf(err error) error {
	if e, ok := errors.AsType[unix.Errno](err); ok {
		return e
	}
	return err
}
