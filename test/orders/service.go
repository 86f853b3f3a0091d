package orders

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/test/scratchimage"
)

const (
	runtimeName       = "io.containerd.wasm.v1"
	nativeRuntimeName = "io.containerd.runc.v2"
)

// Service is a running order service.
type Service struct {
	// Guest is orders-rust or orders-go.
	Guest string
	// Port is where it listens inside.
	Port int
	// Task is its container's task.
	Task client.Task
	// Output is what it has printed.
	Output *Output

	stage     *Stage
	client    *client.Client
	container client.Container
	exit      <-chan client.ExitStatus
	files     string
}

// ServiceConfig says how a service differs from the usual one.
type ServiceConfig struct {
	// Guest is orders-rust or orders-go.
	Guest string
	// Native compiles it for this machine, to measure against.
	Native bool
	// Port is where it is to listen, other than those of other services.
	Port int
	// Verb is serve when empty.
	Verb string
	// Trust is whom the service believes, the stage's authority when nil.
	Trust *Authority
	// Env is added to the usual environment, or replaces parts of it.
	Env map[string]string
}

// Start makes and starts the container of a service. It does not wait until the
// service listens.
func (s *Stage) Start(ctx context.Context, c ServiceConfig) (_ *Service, err error) {
	if c.Verb == "" {
		c.Verb = "serve"
	}
	if c.Trust == nil {
		c.Trust = s.Trusted
	}
	v := &Service{Guest: c.Guest, Port: c.Port, Output: new(Output), stage: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.Remove(context.WithoutCancel(ctx)))
		}
	}()
	if v.client, err = client.New(s.Daemon.Address(), client.WithDefaultNamespace(s.Daemon.Namespace)); err != nil {
		return nil, err
	}
	img, err := s.image(ctx, v.client, c)
	if err != nil {
		return nil, err
	}
	id := s.Daemon.NewID(c.Guest)
	if v.files, err = s.writeFiles(id, c.Trust); err != nil {
		return nil, err
	}
	v.container, err = v.client.NewContainer(ctx, id,
		client.WithImage(img),
		client.WithNewSnapshot(id, img),
		client.WithNewSpec(
			oci.WithImageConfigArgs(img, []string{c.Verb}),
			oci.WithEnv(environment(c)),
			oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: s.Inside.Path()}),
			oci.WithMounts([]specs.Mount{readOnly(v.files, "hosts", "/etc/hosts"), readOnly(v.files, "ca.pem", "/etc/ca.pem")}),
			// containerd's usual 1,024 are less than the connections of a busy service.
			oci.WithRlimit(&specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: 8192, Hard: 8192}),
		),
		client.WithRuntime(c.runtime(), nil))
	if err != nil {
		return nil, err
	}
	v.Task, err = v.container.NewTask(ctx, cio.NewCreator(
		cio.WithStreams(nil, v.Output, v.Output), cio.WithFIFODir(filepath.Join(s.Daemon.Dir, "fifo"))))
	if err != nil {
		return nil, err
	}
	if v.exit, err = v.Task.Wait(ctx); err != nil {
		return nil, err
	}
	return v, v.Task.Start(ctx)
}

func (c *ServiceConfig) runtime() string {
	if c.Native {
		return nativeRuntimeName
	}
	return runtimeName
}

// image returns the image of a service, which it packs and imports at first use.
func (s *Stage) image(ctx context.Context, cl *client.Client, c ServiceConfig) (client.Image, error) {
	ref, pack := "localhost/"+c.Guest+":1", s.packGuest
	if c.Native {
		ref, pack = "localhost/"+c.Guest+"-native:1", s.packNative
	}
	if img, err := cl.GetImage(ctx, ref); err == nil {
		return img, nil
	}
	tar := filepath.Join(s.Daemon.Dir, "work", c.Guest+".tar")
	defer os.Remove(tar)
	if err := pack(ctx, c.Guest, ref, tar); err != nil {
		return nil, err
	}
	if err := s.Daemon.ImportImage(ctx, tar); err != nil {
		return nil, err
	}
	return cl.GetImage(ctx, ref)
}

func (s *Stage) packGuest(ctx context.Context, guest, ref, tar string) error {
	module, err := s.store.Guest(ctx, guest)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(s.bin, "wasmctl"), "pack", module, "-t", ref, "-o", tar).CombinedOutput()
	if err != nil {
		return fmt.Errorf("wasmctl pack: %w\n%s", err, out)
	}
	return nil
}

func (s *Stage) packNative(ctx context.Context, guest, ref, tar string) error {
	path, err := s.store.Native(ctx, guest)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return scratchimage.Image{Ref: ref, Files: map[string][]byte{"/orders": program}, Entrypoint: []string{"/orders"}}.Write(tar)
}

// writeFiles writes what the container gets mounted.
func (s *Stage) writeFiles(id string, trust *Authority) (dir string, err error) {
	dir = filepath.Join(s.Daemon.Dir, "work", id)
	hosts := fmt.Sprintf("127.0.0.1 localhost\n%s %s %s %s\n", OutsideIP, databaseHost, shippingHost, otherNameHost)
	return dir, errors.Join(
		os.Mkdir(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts), 0o644),
		os.WriteFile(filepath.Join(dir, "ca.pem"), trust.PEM(), 0o644))
}

func readOnly(dir, name, destination string) specs.Mount {
	return specs.Mount{Type: "bind", Source: filepath.Join(dir, name), Destination: destination, Options: []string{"bind", "ro"}}
}

func environment(c ServiceConfig) (env []string) {
	all := map[string]string{
		"LISTEN":              fmt.Sprintf("0.0.0.0:%d", c.Port),
		"DATABASE_URL":        fmt.Sprintf("mysql://%s:%s@%s:%d/%s", databaseUser, databasePassword, databaseHost, databasePort, databaseName),
		"SHIPPING_URL":        fmt.Sprintf("http://%s:%d/rates", shippingHost, shippingPort),
		"SECURE_SHIPPING_URL": fmt.Sprintf("https://%s:%d/rates", shippingHost, securePort),
		"TRUST_ANCHORS":       "/etc/ca.pem",
	}
	maps.Copy(all, c.Env)
	for name, value := range all {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// Dial connects to the service from outside.
func (v *Service) Dial(ctx context.Context) (net.Conn, error) {
	return v.stage.Outside.Dial(ctx, "tcp", net.JoinHostPort(ServiceIP, strconv.Itoa(v.Port)))
}

// Client returns an HTTP client that finds the service under any name, with at
// most so many connections, which it keeps.
func (v *Service) Client(connections int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return v.Dial(ctx) },
		MaxConnsPerHost:     connections,
		MaxIdleConnsPerHost: connections,
	}}
}

// ID is that of the service's container.
func (v *Service) ID() string { return v.container.ID() }

// Initialise asks a service to make its table anew.
func Initialise(ctx context.Context, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://orders/table", nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("make the table: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		return fmt.Errorf("make the table: the service answers %s", answer.Status)
	}
	return nil
}

// Listens waits until the service takes connections.
func (v *Service) Listens(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		conn, err := v.Dial(ctx)
		if err == nil {
			return conn.Close()
		}
		select {
		case status := <-v.exit:
			return fmt.Errorf("the service ended with %d: %s", status.ExitCode(), v.Output)
		case <-ctx.Done():
			return fmt.Errorf("the service does not listen: %w: %s", err, v.Output)
		case <-time.After(10 * time.Millisecond): // the other side of a network has no event
		}
	}
}

// Ended waits for the end of the service and returns its exit code.
func (v *Service) Ended(ctx context.Context) (uint32, error) {
	select {
	case status := <-v.exit:
		return status.ExitCode(), status.Error()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Remove ends the service, if it still runs, and removes its container.
func (v *Service) Remove(ctx context.Context) (err error) {
	if v.Task != nil {
		_, e := v.Task.Delete(ctx, client.WithProcessKill)
		err = errors.Join(err, e)
	}
	if v.container != nil {
		err = errors.Join(err, v.container.Delete(ctx, client.WithSnapshotCleanup))
	}
	if v.client != nil {
		err = errors.Join(err, v.client.Close())
	}
	if v.files != "" {
		err = errors.Join(err, os.RemoveAll(v.files))
	}
	return err
}

// Kill sends a signal to the service.
func (v *Service) Kill(ctx context.Context, sig syscall.Signal) error { return v.Task.Kill(ctx, sig) }

// Output collects what a container prints.
type Output struct {
	mu   sync.Mutex
	text []byte
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	return len(p), nil
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}
