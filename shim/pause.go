package shim

import (
	"context"
	"fmt"

	eventstypes "github.com/containerd/containerd/api/events"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
)

// pause freezes every process of the container.
//
// Errors: errdefs.ErrFailedPrecondition unless the guest runs.
func (c *container) pause(ctx context.Context) error {
	p := c.init
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != tasktypes.Status_RUNNING {
		return c.not("running", "paused")
	}
	if err := c.cgroup.Freeze(ctx); err != nil {
		return classify(err)
	}
	p.status = tasktypes.Status_PAUSED
	c.events.send(&eventstypes.TaskPaused{ContainerID: c.id})
	return nil
}

// resume lets a paused container go on.
//
// Errors: errdefs.ErrFailedPrecondition unless it is paused.
func (c *container) resume() error {
	p := c.init
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status != tasktypes.Status_PAUSED {
		return c.not("paused", "resumed")
	}
	if err := c.cgroup.Thaw(); err != nil {
		return classify(err)
	}
	p.status = tasktypes.Status_RUNNING
	c.events.send(&eventstypes.TaskResumed{ContainerID: c.id})
	return nil
}

// not is the error of a call that the container's state forbids. The init's
// mutex is held.
func (c *container) not(state, verb string) error {
	return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf(
		"container %s is %s, not %s, and cannot be %s", c.id, statusName(c.init.status), state, verb))
}

func statusName(s tasktypes.Status) string {
	switch s {
	case tasktypes.Status_CREATED:
		return "created"
	case tasktypes.Status_RUNNING:
		return "running"
	case tasktypes.Status_PAUSED:
		return "paused"
	case tasktypes.Status_STOPPED:
		return "stopped"
	}
	return s.String()
}
