package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

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
	if err := c.checkUsage(res.Memory); err != nil {
		return err
	}
	c.orderMemory(settings)
	for _, s := range settings {
		if err := c.host.apply(c.target.path, s); err != nil {
			return err
		}
	}
	return nil
}

// orderMemory puts the settings into an order that v1 takes: memory may never
// exceed memory plus swap there, so that raising both begins with the latter, and
// lowering both with the former, as they are.
func (c *Cgroup) orderMemory(settings []setting) {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.field == "memory.limit" })
	j := slices.IndexFunc(settings, func(s setting) bool { return s.field == "memory.swap" })
	if i < 0 || j < 0 || c.host.unified() {
		return
	}
	dir, _ := c.host.dir("memory", c.target.path)
	now, err := readNumber(filepath.Join(dir, "memory.memsw.limit_in_bytes"))
	wanted, parseErr := strconv.ParseInt(settings[j].writes[0].text, 10, 64)
	if err == nil && parseErr == nil && (wanted == -1 || wanted > now) {
		settings[i], settings[j] = settings[j], settings[i]
	}
}

// checkUsage is memory.checkBeforeUpdate: cgroup v2 takes a limit below what is
// used and kills for it. v1 refuses it in any case.
func (c *Cgroup) checkUsage(m *specs.LinuxMemory) error {
	if m == nil || !value(m.CheckBeforeUpdate) || !c.host.unified() {
		return nil
	}
	memory, err := c.bytes("memory.current")
	if err != nil {
		return err
	}
	if limit := value(m.Limit); limit > 0 && memory > limit {
		return refuse("memory.limit", "is %d, but the container uses %d bytes, and memory.checkBeforeUpdate is set; choose a higher value", limit, memory)
	}
	swap, err := c.bytes("memory.swap.current")
	if err != nil {
		return err
	}
	if sum := value(m.Swap); sum > 0 && memory+swap > sum {
		return refuse("memory.swap", "is %d, but the container uses %d bytes of memory and swap, and memory.checkBeforeUpdate is set; choose a higher value", sum, memory+swap)
	}
	return nil
}

// bytes reads a v2 file with one number. One that is absent, such as that of
// swap, counts 0.
func (c *Cgroup) bytes(file string) (int64, error) {
	n, err := readNumber(filepath.Join(c.host.v2, c.target.path, file))
	if err != nil && !gone(err) {
		return 0, fmt.Errorf("update cgroup %s: %w", c.target.path, err)
	}
	return n, nil
}

func readNumber(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}
