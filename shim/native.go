package shim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	runctask "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	ctrshim "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
)

// nativeTasks is containerd's own runc task service for the native containers
// of the group. Calls for ids that it does not have fail with
// errdefs.ErrNotFound, but for Connect, which never fails.
type nativeTasks struct {
	taskapi.TTRPCTaskService

	mu sync.Mutex
	// ids of its containers, those under creation included; guarded by mu.
	ids map[string]struct{}
}

func newNativeTasks(ctx context.Context, publisher ctrshim.Publisher, sd shutdown.Service) (*nativeTasks, error) {
	tasks, err := runctask.NewTaskService(ctx, sharedPublisher{publisher}, sharedShutdown{sd})
	if err != nil {
		return nil, fmt.Errorf("start the runc task service: %w", err)
	}
	return &nativeTasks{TTRPCTaskService: tasks, ids: make(map[string]struct{})}, nil
}

// sharedPublisher keeps the runc service from closing the publisher that Wasm
// containers use too.
type sharedPublisher struct{ ctrshim.Publisher }

func (sharedPublisher) Close() error { return nil }

// sharedShutdown keeps the runc service from ending the shim with its last
// container.
type sharedShutdown struct{ shutdown.Service }

func (sharedShutdown) Shutdown() {}

// Create creates a native container. The request's options must be of runc's
// type: the runc service panics on any other.
func (n *nativeTasks) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	n.mu.Lock()
	n.ids[r.ID] = struct{}{}
	n.mu.Unlock()
	resp, err := n.TTRPCTaskService.Create(ctx, r)
	if err != nil {
		n.forget(r.ID)
	}
	return resp, err
}

// Delete deletes a container, or one of its processes.
func (n *nativeTasks) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	resp, err := n.TTRPCTaskService.Delete(ctx, r)
	if err == nil && r.ExecID == "" {
		n.forget(r.ID)
	}
	return resp, err
}

func (n *nativeTasks) forget(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ids, id)
}

func (n *nativeTasks) has(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.ids[id]
	return ok
}

func (n *nativeTasks) list() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.ids))
}

func (n *nativeTasks) empty() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.ids) == 0
}
