package shim

import (
	"encoding/json"
	"fmt"
	"reflect"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
)

// update changes the resource limits of a container that has not ended. The
// message holds an OCI LinuxResources as JSON, as daemons send it; what it does
// not set stays.
//
// Errors: errdefs.ErrFailedPrecondition for an ended container,
// errdefs.ErrInvalidArgument for what cannot be applied.
func (c *container) update(any *anypb.Any) error {
	var res specs.LinuxResources
	if err := json.Unmarshal(any.GetValue(), &res); err != nil {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("resources of type %q are not LinuxResources of the OCI runtime specification: %v", any.GetTypeUrl(), err))
	}
	// A resize by kubelet repeats everything that Create was given.
	if c.linux != nil && c.linux.Resources != nil && reflect.DeepEqual(res.Devices, c.linux.Resources.Devices) {
		res.Devices = nil
	}
	p := c.init
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status == tasktypes.Status_STOPPED {
		return c.not("running", "updated")
	}
	return classify(c.cgroup.Update(&res))
}
