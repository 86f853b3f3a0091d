package shim

import (
	"context"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
)

// registerTaskV2 offers svc under the service name of task API version 2, which
// daemons before 2.0 call. The messages of both versions have the same fields
// with the same numbers (the .proto files differ in the package line), so the
// messages of version 3 read and write the same bytes.
func registerTaskV2(server *ttrpc.Server, svc taskapi.TTRPCTaskService) {
	server.RegisterService("containerd.task.v2.Task", &ttrpc.ServiceDesc{
		Methods: map[string]ttrpc.Method{
			"State":      unary(svc.State),
			"Create":     unary(svc.Create),
			"Start":      unary(svc.Start),
			"Delete":     unary(svc.Delete),
			"Pids":       unary(svc.Pids),
			"Pause":      unary(svc.Pause),
			"Resume":     unary(svc.Resume),
			"Checkpoint": unary(svc.Checkpoint),
			"Kill":       unary(svc.Kill),
			"Exec":       unary(svc.Exec),
			"ResizePty":  unary(svc.ResizePty),
			"CloseIO":    unary(svc.CloseIO),
			"Update":     unary(svc.Update),
			"Wait":       unary(svc.Wait),
			"Stats":      unary(svc.Stats),
			"Connect":    unary(svc.Connect),
			"Shutdown":   unary(svc.Shutdown),
		},
	})
}

func unary[Request, Response any](call func(context.Context, *Request) (*Response, error)) ttrpc.Method {
	return func(ctx context.Context, unmarshal func(any) error) (any, error) {
		request := new(Request)
		if err := unmarshal(request); err != nil {
			return nil, err
		}
		// A nil *Response in an interface would not be nil to ttrpc.
		response, err := call(ctx, request)
		if err != nil {
			return nil, err
		}
		return response, nil
	}
}
