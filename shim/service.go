package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	ctrshim "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"
)

// service is the task service: every call goes to the Wasm container of its id
// or, when there is none, to the runc task service.
//
// This file and native.go convert errors to gRPC status; nothing below does.
type service struct {
	namespace string
	// address is that of containerd's gRPC socket.
	address  string
	events   *eventQueue
	native   *nativeTasks
	shutdown shutdown.Service

	mu sync.Mutex
	// containers holds the Wasm containers; nil for an id whose Create is
	// under way. Guarded by mu.
	containers map[string]*container
	// creating holds the Creates of Wasm containers that are under way. Guarded
	// by mu.
	creating map[string]*creation
	// pod is the sandbox of the containers, if the sandbox API made it. Guarded by
	// mu.
	pod *pod
	// ending: the daemon asked for the end while nothing but Creates was under
	// way, because it has given up on them. Guarded by mu.
	ending bool
	// served is closed when the first container is asked for.
	served     chan struct{}
	serveFirst sync.Once
	rest       *rest
}

var _ taskapi.TTRPCTaskService = (*service)(nil)

// newService returns the service of one shim of the daemon whose gRPC socket is at
// address. ctx carries the containerd namespace and ends with the shim.
func newService(ctx context.Context, address string, publisher ctrshim.Publisher, sd shutdown.Service) (*service, error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	native, err := newNativeTasks(ctx, publisher, sd)
	if err != nil {
		return nil, err
	}
	s := &service{
		namespace:  ns,
		address:    address,
		events:     newEventQueue(ctx, publisher),
		native:     native,
		shutdown:   sd,
		containers: make(map[string]*container),
		creating:   make(map[string]*creation),
		served:     make(chan struct{}),
		rest:       newRest(),
	}
	go s.endIfForgotten(ctx)
	sd.RegisterCallback(func(ctx context.Context) error {
		defer publisher.Close()
		// The callbacks run side by side, and the failure of any of them
		// cancels ctx: that must not cost the last events.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastEventsTime)
		defer cancel()
		return s.events.close(ctx)
	})
	// The socket is removed by a callback of the runc task service, if that finds
	// the file with the address.
	if _, err := ctrshim.ReadAddress(addressFile); err != nil {
		sd.RegisterCallback(func(context.Context) error { return ctrshim.RemoveSocket(os.Getenv(addressVariable)) })
	}
	return s, nil
}

// lastEventsTime is how long the end of the shim waits for a daemon to take the
// last events; pkg/shim gives all callbacks together five seconds.
const lastEventsTime = 4 * time.Second

// RegisterTTRPC offers the service under both versions of the task API, and the
// sandbox service beside it.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	taskapi.RegisterTTRPCTaskService(server, s)
	registerTaskV2(server, s)
	sandboxapi.RegisterTTRPCSandboxService(server, sandboxService{s})
	return nil
}

// container returns the Wasm container of that id, or nil.
func (s *service) container(id string) *container {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.containers[id]
}

func (s *service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	creating, err := s.reserve(ctx, r.ID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	c, native, err := s.create(creating, r)
	if native != nil {
		// From here on the runc task service decides what a Delete means.
		s.mu.Lock()
		s.endCreation(r.ID)
		s.mu.Unlock()
		defer s.settle(ctx, r.ID, nil)
		return s.native.Create(ctx, native)
	}
	if !s.settle(creating, r.ID, c) {
		err = errors.Join(context.Cause(creating), c.delete(context.WithoutCancel(ctx)))
		s.settle(creating, r.ID, nil)
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &taskapi.CreateTaskResponse{Pid: uint32(c.init.pid())}, nil
}

func (s *service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.Start(ctx, r)
	}
	p, err := c.process(r.ExecID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if p == c.init {
		err = c.start(ctx)
	} else {
		err = c.startExec(ctx, p)
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	s.rest.busy()
	return &taskapi.StartResponse{Pid: uint32(p.pid())}, nil
}

func (s *service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	c := s.container(r.ID)
	if c == nil {
		if r.ExecID == "" {
			s.abandon(ctx, r.ID)
		}
		return s.native.Delete(ctx, r)
	}
	p, err := c.process(r.ExecID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if p == c.init {
		err = c.delete(ctx)
	} else {
		err = c.deleteExec(p)
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if p == c.init {
		s.settle(ctx, r.ID, nil)
	}
	return p.deleteResponse(), nil
}

func (s *service) Kill(ctx context.Context, r *taskapi.KillRequest) (*emptypb.Empty, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.Kill(ctx, r)
	}
	p, err := c.process(r.ExecID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if r.Signal > uint32(maxSignal) {
		r.Signal = uint32(maxSignal) + 1 // refused by name below, without overflow
	}
	if err := c.kill(p, unix.Signal(r.Signal), r.All); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func (s *service) Wait(ctx context.Context, r *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.Wait(ctx, r)
	}
	p, err := c.process(r.ExecID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := p.wait(ctx); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &taskapi.WaitResponse{
		ExitStatus: p.exitStatus,
		ExitedAt:   protobuf.ToTimestamp(p.exitedAt),
	}, nil
}

func (s *service) State(ctx context.Context, r *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.State(ctx, r)
	}
	p, err := c.process(r.ExecID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	resp := &taskapi.StateResponse{
		ID:       c.id,
		ExecID:   p.execID,
		Bundle:   c.bundle,
		Pid:      uint32(p.pid()),
		Status:   p.status,
		Stdin:    p.stdin,
		Stdout:   p.stdout,
		Stderr:   p.stderr,
		Terminal: p.terminal,
	}
	if p.status == tasktypes.Status_STOPPED {
		resp.ExitStatus = p.exitStatus
		resp.ExitedAt = protobuf.ToTimestamp(p.exitedAt)
	}
	return resp, nil
}

func (s *service) Pids(ctx context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	c := s.container(r.ID)
	if c == nil {
		if pid := s.podPid(r.ID); pid != 0 {
			return &taskapi.PidsResponse{Processes: []*tasktypes.ProcessInfo{{Pid: uint32(pid)}}}, nil
		}
		return s.native.Pids(ctx, r)
	}
	pids, err := c.cgroup.Pids()
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("list processes of container %s: %w", c.id, err))
	}
	if len(pids) == 0 {
		// Since 1.7 a daemon that starts takes a task without processes for one
		// that was never created, and deletes it with its exit status. Like a
		// zombie, an ended init is there until it is deleted.
		pids = []int{c.init.pid()}
	}
	resp := &taskapi.PidsResponse{}
	for _, pid := range pids {
		info := &tasktypes.ProcessInfo{Pid: uint32(pid)}
		if id := c.execIDOf(pid); id != "" {
			if info.Info, err = typeurl.MarshalAnyToProto(&runcoptions.ProcessDetails{ExecID: id}); err != nil {
				return nil, errgrpc.ToGRPC(err)
			}
		}
		resp.Processes = append(resp.Processes, info)
	}
	return resp, nil
}

func (s *service) Stats(ctx context.Context, r *taskapi.StatsRequest) (*taskapi.StatsResponse, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.Stats(ctx, r)
	}
	stats, err := c.cgroup.Stat()
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("read statistics of container %s: %w", c.id, err))
	}
	any, err := typeurl.MarshalAnyToProto(stats)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &taskapi.StatsResponse{Stats: any}, nil
}

func (s *service) CloseIO(ctx context.Context, r *taskapi.CloseIORequest) (*emptypb.Empty, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.CloseIO(ctx, r)
	}
	p, err := c.process(r.ExecID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if r.Stdin {
		if err := p.closeInput(); err != nil {
			return nil, errgrpc.ToGRPC(fmt.Errorf("close stdin of container %s: %w", c.id, err))
		}
	}
	return &emptypb.Empty{}, nil
}

// Connect never fails: daemons take an error for a dead shim and kill the
// group. An unknown id has pid 0.
func (s *service) Connect(ctx context.Context, r *taskapi.ConnectRequest) (*taskapi.ConnectResponse, error) {
	if c := s.container(r.ID); c != nil {
		return &taskapi.ConnectResponse{ShimPid: uint32(os.Getpid()), TaskPid: uint32(c.init.pid())}, nil
	}
	if pid := s.podPid(r.ID); pid != 0 {
		return &taskapi.ConnectResponse{ShimPid: uint32(os.Getpid()), TaskPid: uint32(pid)}, nil
	}
	return s.native.Connect(ctx, r)
}

// Shutdown ends the shim unless it still serves a container or a sandbox: daemons
// call it after every delete.
func (s *service) Shutdown(context.Context, *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.native.empty() || s.pod != nil {
		return &emptypb.Empty{}, nil
	}
	for _, c := range s.containers {
		if c != nil {
			return &emptypb.Empty{}, nil
		}
	}
	// A Create that its daemon has cancelled ends the shim when it ends: nobody
	// asks a second time.
	s.ending = true
	if len(s.containers) == 0 {
		s.shutdown.Shutdown()
	}
	return &emptypb.Empty{}, nil
}

func (s *service) Exec(ctx context.Context, r *taskapi.ExecProcessRequest) (*emptypb.Empty, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.Exec(ctx, r)
	}
	if err := c.exec(r); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func (s *service) ResizePty(ctx context.Context, r *taskapi.ResizePtyRequest) (*emptypb.Empty, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.ResizePty(ctx, r)
	}
	p, err := c.process(r.ExecID)
	if err == nil {
		err = p.resize(r.Width, r.Height)
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func (s *service) Pause(ctx context.Context, r *taskapi.PauseRequest) (*emptypb.Empty, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.Pause(ctx, r)
	}
	if err := c.pause(ctx); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func (s *service) Resume(ctx context.Context, r *taskapi.ResumeRequest) (*emptypb.Empty, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.Resume(ctx, r)
	}
	if err := c.resume(); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func (s *service) Update(ctx context.Context, r *taskapi.UpdateTaskRequest) (*emptypb.Empty, error) {
	c := s.container(r.ID)
	if c == nil {
		return s.native.Update(ctx, r)
	}
	if err := c.update(r.Resources); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func (s *service) Checkpoint(ctx context.Context, r *taskapi.CheckpointTaskRequest) (*emptypb.Empty, error) {
	if s.container(r.ID) == nil {
		return s.native.Checkpoint(ctx, r)
	}
	return nil, errgrpc.ToGRPC(errdefs.ErrNotImplemented.WithMessage(fmt.Sprintf(
		"checkpointing Wasm container %s is not supported; delete it and create it anew", r.ID)))
}
