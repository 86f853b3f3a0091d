package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// sandboxService is the sandbox service, by which CRI makes Pods without a pause
// container (its setting sandboxer = "shim"). A shim has one sandbox at most.
//
// As service.go, this file only converts messages and errors.
type sandboxService struct{ s *service }

var _ sandboxapi.TTRPCSandboxService = sandboxService{}

func (t sandboxService) CreateSandbox(_ context.Context, r *sandboxapi.CreateSandboxRequest) (*sandboxapi.CreateSandboxResponse, error) {
	if err := t.s.createPod(r); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &sandboxapi.CreateSandboxResponse{}, nil
}

func (t sandboxService) StartSandbox(ctx context.Context, r *sandboxapi.StartSandboxRequest) (*sandboxapi.StartSandboxResponse, error) {
	p, err := t.s.podOf(r.SandboxID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	pid, err := p.start(ctx)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &sandboxapi.StartSandboxResponse{Pid: uint32(pid), CreatedAt: protobuf.ToTimestamp(p.createdAt)}, nil
}

// Platform is what the containers of a Pod are made for: CRI writes an OCI spec
// for Linux, whatever their binaries are.
func (t sandboxService) Platform(_ context.Context, r *sandboxapi.PlatformRequest) (*sandboxapi.PlatformResponse, error) {
	if _, err := t.s.podOf(r.SandboxID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &sandboxapi.PlatformResponse{Platform: &types.Platform{OS: "linux", Architecture: runtime.GOARCH}}, nil
}

func (t sandboxService) StopSandbox(ctx context.Context, r *sandboxapi.StopSandboxRequest) (*sandboxapi.StopSandboxResponse, error) {
	p, err := t.s.podOf(r.SandboxID)
	if err == nil {
		err = p.stop(ctx)
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &sandboxapi.StopSandboxResponse{}, nil
}

func (t sandboxService) WaitSandbox(ctx context.Context, r *sandboxapi.WaitSandboxRequest) (*sandboxapi.WaitSandboxResponse, error) {
	p, err := t.s.podOf(r.SandboxID)
	if err == nil {
		err = p.wait(ctx)
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &sandboxapi.WaitSandboxResponse{ExitStatus: p.exitStatus, ExitedAt: protobuf.ToTimestamp(p.exitedAt)}, nil
}

func (t sandboxService) SandboxStatus(_ context.Context, r *sandboxapi.SandboxStatusRequest) (*sandboxapi.SandboxStatusResponse, error) {
	p, err := t.s.podOf(r.SandboxID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	resp := &sandboxapi.SandboxStatusResponse{
		SandboxID: p.id,
		Pid:       uint32(p.pid()),
		State:     criState(p.state),
		CreatedAt: protobuf.ToTimestamp(p.createdAt),
	}
	if p.state == podStopped {
		resp.ExitedAt = protobuf.ToTimestamp(p.exitedAt)
	}
	if r.Verbose {
		if resp.Info, err = p.info(); err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
	}
	return resp, nil
}

// criState is a state in the words of CRI, which compares them.
func criState(s podState) string {
	if s == podReady {
		return "SANDBOX_READY"
	}
	return "SANDBOX_NOTREADY"
}

// info is what `crictl inspectp` shows, in the form of CRI's own sandboxes. mu is
// held.
func (p *pod) info() (map[string]string, error) {
	b, err := json.Marshal(struct {
		Pid         int    `json:"pid"`
		Status      string `json:"processStatus"`
		RuntimeType string `json:"runtimeType"`
		RuntimeSpec any    `json:"runtimeSpec"`
	}{p.pid(), p.state.String(), RuntimeName, p.spec("")})
	if err != nil {
		return nil, fmt.Errorf("describe sandbox %s: %w", p.id, err)
	}
	return map[string]string{"info": string(b)}, nil
}

func (t sandboxService) PingSandbox(_ context.Context, r *sandboxapi.PingRequest) (*sandboxapi.PingResponse, error) {
	if _, err := t.s.podOf(r.SandboxID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &sandboxapi.PingResponse{}, nil
}

// answerTime is how long the answer to ShutdownSandbox may take from the server's
// hands into the socket. The end of its context says that the server has it;
// that it was sent, nothing says.
const answerTime = 20 * time.Millisecond

// ShutdownSandbox removes the sandbox and ends the shim, after the answer: a
// daemon that loses the connection before it has one takes the removal for
// failed.
func (t sandboxService) ShutdownSandbox(ctx context.Context, r *sandboxapi.ShutdownSandboxRequest) (*sandboxapi.ShutdownSandboxResponse, error) {
	if err := t.s.removePod(ctx, r.SandboxID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	go func() {
		<-ctx.Done()
		time.Sleep(answerTime)
		t.s.shutdown.Shutdown()
	}()
	return &sandboxapi.ShutdownSandboxResponse{}, nil
}

func (t sandboxService) SandboxMetrics(_ context.Context, r *sandboxapi.SandboxMetricsRequest) (*sandboxapi.SandboxMetricsResponse, error) {
	p, err := t.s.podOf(r.SandboxID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	stats, err := p.metrics()
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	data, err := typeurl.MarshalAnyToProto(stats)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &sandboxapi.SandboxMetricsResponse{Metrics: &types.Metric{Timestamp: timestamppb.Now(), ID: p.id, Data: data}}, nil
}

// UpdateSandbox is what a shim may leave out: nothing of a running Pod here can
// be changed. Its cgroup is kubelet's.
func (t sandboxService) UpdateSandbox(_ context.Context, r *sandboxapi.UpdateSandboxRequest) (*sandboxapi.UpdateSandboxResponse, error) {
	return nil, errgrpc.ToGRPC(errdefs.ErrNotImplemented.WithMessage(fmt.Sprintf("sandbox %s cannot be updated", r.SandboxID)))
}
