package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/wasmshim/containerd-shim-wasm/test/daemon"
)

// groupAnnotation is what both shims take for "in the shim of that name".
const groupAnnotation = "io.containerd.runc.v2.group"

// directShim is the connection to a shim that containerd started for a container
// of its own, the keeper, which keeps it alive. What is measured is asked of the
// shim itself, past containerd.
type directShim struct {
	contender *contender
	d         *daemon.Daemon
	client    *ttrpc.Client
	service   string
	pid       int // the shim's
	keeper    *container
	program   string // path of the program that its containers run
}

// openShim starts a shim of a contender with a keeper that waits. Further containers
// run the program of that name.
func (b *bench) openShim(ctx context.Context, d *daemon.Daemon, c *contender, program string) (_ *directShim, err error) {
	s := &directShim{contender: c, d: d}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		}
	}()
	if s.program, err = c.program(ctx, b, program); err != nil {
		return nil, err
	}
	if s.keeper, err = c.start(ctx, d, keeperProgram, nil, newSignalWriter()); err != nil {
		return nil, err
	}
	if s.client, s.service, err = dialShim(d, s.keeper.container.ID()); err != nil {
		return nil, err
	}
	var connected taskapi.ConnectResponse
	if err := s.call(ctx, "Connect", &taskapi.ConnectRequest{ID: s.keeper.container.ID()}, &connected); err != nil {
		return nil, err
	}
	s.pid = int(connected.ShimPid)
	return s, nil
}

// dialShim connects to the shim of one of the daemon's containers.
func dialShim(d *daemon.Daemon, id string) (_ *ttrpc.Client, service string, _ error) {
	bundle := filepath.Join(d.Dir, "state", "io.containerd.runtime.v2.task", d.Namespace, id)
	answer := struct {
		Version int
		Address string
	}{Version: 2}
	b, err := os.ReadFile(filepath.Join(bundle, "bootstrap.json"))
	if errors.Is(err, os.ErrNotExist) { // containerd 1.6
		b, err = os.ReadFile(filepath.Join(bundle, "address"))
		answer.Address = string(b)
	} else if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	if err != nil {
		return nil, "", fmt.Errorf("address of the shim of %s: %w", id, err)
	}
	conn, err := net.Dial("unix", strings.TrimPrefix(answer.Address, "unix://"))
	if err != nil {
		return nil, "", err
	}
	return ttrpc.NewClient(conn), fmt.Sprintf("containerd.task.v%d.Task", answer.Version), nil
}

// call calls the task service. Its messages are the same in both versions.
func (s *directShim) call(ctx context.Context, method string, request, answer any) error {
	ctx = namespaces.WithNamespace(ctx, s.d.Namespace)
	if err := s.client.Call(ctx, s.service, method, request, answer); err != nil {
		return fmt.Errorf("%s: %s: %w", s.contender.name, method, err)
	}
	return nil
}

func (s *directShim) close(ctx context.Context) (err error) {
	if s.client != nil {
		err = s.client.Close()
	}
	if s.keeper != nil {
		err = errors.Join(err, s.keeper.remove(ctx))
	}
	return err
}

// life is how long each call of a container's life took. first is from the Create
// call to the first byte of output, without what was done between the calls; wait is
// from the Kill call to the answer of a Wait that was asked before.
type life struct {
	create, start, first, kill, wait, delete time.Duration
}

// live runs a container of the shim's program, which prints and waits, to its end.
func (s *directShim) live(ctx context.Context) (l life, err error) {
	ctx, cancel, err := whole(ctx)
	if err != nil {
		return l, err
	}
	defer cancel()
	id := s.d.NewID("direct")
	bundle := filepath.Join(s.d.Dir, "work", id)
	if err := s.makeBundle(ctx, id, bundle); err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, removeBundle(bundle)) }()
	out, err := makeFIFO(filepath.Join(bundle, "stdout"))
	if err != nil {
		return l, err
	}
	defer out.Close()
	stderr, err := makeFIFO(filepath.Join(bundle, "stderr"))
	if err != nil {
		return l, err
	}
	defer stderr.Close()
	if err := out.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return l, err
	}

	request := &taskapi.CreateTaskRequest{ID: id, Bundle: bundle, Stdout: out.Name(), Stderr: stderr.Name()}
	if o := s.contender.options(); o != nil {
		if request.Options, err = typeurl.MarshalAnyToProto(o); err != nil {
			return l, err
		}
	}
	began := time.Now()
	if err := s.call(ctx, "Create", request, &taskapi.CreateTaskResponse{}); err != nil {
		return l, err
	}
	l.create = time.Since(began)
	defer func() {
		if l.delete == 0 { // something failed, which says more than these would
			_ = s.call(ctx, "Kill", &taskapi.KillRequest{ID: id, Signal: uint32(unix.SIGKILL)}, &emptypb.Empty{})
			_ = s.call(ctx, "Delete", &taskapi.DeleteRequest{ID: id}, &taskapi.DeleteResponse{})
		}
	}()
	first := make(chan error, 1)
	var came time.Time
	go func() {
		var b [1]byte
		_, err := out.Read(b[:])
		came = time.Now()
		first <- err
	}()
	began = time.Now()
	if err := s.call(ctx, "Start", &taskapi.StartRequest{ID: id}, &taskapi.StartResponse{}); err != nil {
		return l, err
	}
	l.start = time.Since(began)
	if err := <-first; err != nil {
		return l, fmt.Errorf("%s: first byte: %w", s.contender.name, err)
	}
	l.first = l.create + came.Sub(began)

	ended := make(chan error, 1)
	var end time.Time
	go func() {
		err := s.call(ctx, "Wait", &taskapi.WaitRequest{ID: id}, &taskapi.WaitResponse{})
		end = time.Now()
		ended <- err
	}()
	began = time.Now()
	if err := s.call(ctx, "Kill", &taskapi.KillRequest{ID: id, Signal: uint32(unix.SIGKILL)}, &emptypb.Empty{}); err != nil {
		return l, err
	}
	l.kill = time.Since(began)
	if err := <-ended; err != nil {
		return l, err
	}
	l.wait = end.Sub(began)
	began = time.Now()
	if err := s.call(ctx, "Delete", &taskapi.DeleteRequest{ID: id}, &taskapi.DeleteResponse{}); err != nil {
		return l, err
	}
	l.delete = time.Since(began)
	return l, nil
}

// removeBundle removes what makeBundle made. runc's shim writes the exit status into
// the bundle when it likes to, even after it has answered Delete.
func removeBundle(bundle string) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := os.RemoveAll(bundle)
		if !errors.Is(err, unix.ENOTEMPTY) || time.Now().After(deadline) {
			return err
		}
	}
}

// makeFIFO makes a FIFO and opens it for both directions: no wait for the shim, no
// early end.
func makeFIFO(path string) (*os.File, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
}

// makeBundle makes what containerd would: the default spec and a root file system
// with the program.
func (s *directShim) makeBundle(ctx context.Context, id, bundle string) error {
	rootfs := filepath.Join(bundle, "rootfs")
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		return err
	}
	program, err := os.ReadFile(s.program)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(rootfs, "program"), program, 0o755); err != nil {
		return err
	}
	spec, err := oci.GenerateSpec(namespaces.WithNamespace(ctx, s.d.Namespace), nil, &containers.Container{ID: id},
		oci.WithDefaultPathEnv, oci.WithRootFSPath("rootfs"), oci.WithProcessArgs("/program"), s.contender.spec())
	if err != nil {
		return err
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o600)
}
