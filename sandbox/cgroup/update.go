package cgroup

import (
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Update changes the limits of a living cgroup to those that res sets; what it
// does not set stays as it is. Devices stay as Create set them, and are refused.
//
// It fails with errdefs.ErrNotFound when the cgroup is gone and with a
// *control.Error of class InvalidArgument for a field that cannot be applied;
// settings before that one, in the order of the spec's fields, are in force then.
func (c *Cgroup) Update(res *specs.LinuxResources) error {
	if len(c.dirs()) == 0 {
		return fmt.Errorf("update cgroup %s: %w", c.target.path, errdefs.ErrNotFound)
	}
	if len(res.Devices) > 0 {
		return refuse("devices", "cannot be changed while the container runs; create it again")
	}
	settings, err := plan(res, c.host.unified())
	if err != nil {
		return err
	}
	if err := c.host.check(settings); err != nil {
		return err
	}
	for i := 0; i < len(settings); i++ {
		err := c.host.apply(c.target.path, settings[i])
		if err == nil {
			continue
		}
		// On v1 memory may never exceed memory plus swap, so that raising both
		// begins with the latter and lowering both with the former.
		j := slices.IndexFunc(settings, func(s setting) bool { return s.field == "memory.swap" })
		if settings[i].field != "memory.limit" || j < i {
			return err
		}
		settings[i], settings[j] = settings[j], settings[i]
		if err := c.host.apply(c.target.path, settings[i]); err != nil {
			return err
		}
	}
	return nil
}
