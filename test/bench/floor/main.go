// Command floor is a shim that does nothing but answer: it starts as a shim
// does, says yes to every call, and its containers have ended with 0 as soon as
// they are started. What `ctr run` takes with it is what no shim written in Go
// can be faster than. It is for measurements by containerd 2.3 or newer alone.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

func main() {
	id := flag.String("id", "", "")
	namespace := flag.String("namespace", "", "")
	address := flag.String("address", "", "")
	for _, name := range []string{"publish-binary", "bundle", "socket", "debug-socket"} {
		flag.String(name, "", "")
	}
	for _, name := range []string{"debug", "info", "v"} {
		flag.Bool(name, false, "")
	}
	flag.Parse()
	var err error
	switch flag.Arg(0) {
	case "start":
		err = start(namespaces.WithNamespace(context.Background(), *namespace), *address, *id)
	case "delete":
		err = answer(&taskapi.DeleteResponse{ExitedAt: protobuf.ToTimestamp(time.Now())})
	default:
		err = serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func answer(m proto.Message) error {
	b, err := proto.Marshal(m)
	if err == nil {
		_, err = os.Stdout.Write(b)
	}
	return err
}

// start starts the server with its socket as descriptor 3.
func start(ctx context.Context, containerd, id string) error {
	address, err := shim.SocketAddress(ctx, containerd, id, false)
	if err != nil {
		return err
	}
	listener, err := shim.NewSocket(address)
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	socket, err := listener.File()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.WriteFile("address", []byte(address), 0o600); err != nil {
		return err
	}
	server := exec.Command(self)
	server.ExtraFiles = []*os.File{socket}
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := server.Start(); err != nil {
		return err
	}
	result := &bootapi.BootstrapResult{Version: 3, Protocol: "ttrpc", Address: address}
	if err := result.AddExtension(&types.MountCapabilities{}); err != nil {
		return err
	}
	return answer(result)
}

func serve() error {
	address, err := os.ReadFile("address")
	if err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	s := &service{started: make(chan struct{}), shutDown: func() {
		_ = shim.RemoveSocket(string(address))
		_ = server.Close()
	}}
	taskapi.RegisterTTRPCTaskService(server, s)
	if err := server.Serve(context.Background(), listener); err != ttrpc.ErrServerClosed {
		return err
	}
	return nil
}

// service is one task. A call that the embedded nil interface has alone panics.
type service struct {
	taskapi.TTRPCTaskService
	started  chan struct{}
	once     sync.Once
	shutDown func()
	outputs  [2]string
}

var pid = uint32(os.Getpid())

func (s *service) Create(_ context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	s.outputs = [2]string{r.Stdout, r.Stderr}
	return &taskapi.CreateTaskResponse{Pid: pid}, nil
}

// Start opens and closes the output, for whose end a client waits.
func (s *service) Start(context.Context, *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	for _, path := range s.outputs {
		if path == "" {
			continue
		}
		if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			f.Close()
		}
	}
	s.once.Do(func() { close(s.started) })
	return &taskapi.StartResponse{Pid: pid}, nil
}

func (s *service) Wait(ctx context.Context, _ *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	select {
	case <-s.started:
		return &taskapi.WaitResponse{ExitedAt: protobuf.ToTimestamp(time.Now())}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *service) State(context.Context, *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	status := tasktypes.Status_CREATED
	select {
	case <-s.started:
		status = tasktypes.Status_STOPPED
	default:
	}
	return &taskapi.StateResponse{Pid: pid, Status: status}, nil
}

func (s *service) Connect(context.Context, *taskapi.ConnectRequest) (*taskapi.ConnectResponse, error) {
	return &taskapi.ConnectResponse{ShimPid: pid, TaskPid: pid}, nil
}

func (s *service) Delete(context.Context, *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	return &taskapi.DeleteResponse{Pid: pid, ExitedAt: protobuf.ToTimestamp(time.Now())}, nil
}

func (s *service) Kill(context.Context, *taskapi.KillRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (s *service) Shutdown(context.Context, *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	go s.shutDown() // after this answer, or nearly
	return &emptypb.Empty{}, nil
}
