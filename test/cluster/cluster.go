package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Programs are what a cluster is made of: directories of executables, and files.
type Programs struct {
	Kubernetes string // see provision.Store.Kubernetes
	Containerd string // containerd, ctr, containerd-shim-runc-v2
	Runc       string
	Shim       string // containerd-shim-wasm-v1 and wasm-runner

	Busybox      string            // a file, static
	Web          string            // test/guests/web.c as a native program
	Registry     string            // see provision.Store.Registry
	Helm         string            // the directory of helm
	Daprd        string            // see provision.Store.Daprd
	Chart        string            // charts/containerd-shim-wasm
	Installers   [2]string         // images of the installer in two versions, files
	Guests       map[string]string // by their names
	RuntimeClass string            // deploy/runtimeclass.yaml
}

// Cluster is a running cluster of one node, in the machine around this process.
type Cluster struct {
	Client  *kubernetes.Clientset
	Dynamic *dynamic.DynamicClient
	Config  *rest.Config

	programs Programs
	dir      string
	progress io.Writer
	began    time.Time
	pki      *authority
	// processes are in the order of their start.
	processes []*process
}

// process is one of the cluster's own.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
}

// startTime is many times what a busy machine of two processors needs.
const startTime = 5 * time.Minute

// Start brings up a cluster that writes to dir only, but for what the programs
// write to places of their own in /etc, /run and /var. It says how far it is on
// progress. It is to be stopped in any case.
func Start(ctx context.Context, dir string, p Programs, progress io.Writer) (*Cluster, error) {
	c := &Cluster{programs: p, dir: dir, progress: progress, began: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"certificates", c.writeCredentials},
		{"containerd", c.startContainerd},
		{"control plane", c.startControlPlane},
		{"node", c.startNode},
		{"DNS", c.startAddons},
	} {
		if err := step.run(ctx); err != nil {
			return c, fmt.Errorf("%s: %w", step.name, err)
		}
		c.say("%s", step.name)
	}
	return c, nil
}

func (c *Cluster) say(format string, args ...any) {
	fmt.Fprintf(c.progress, "cluster: %5.1f s  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

// connect makes the clients.
func (c *Cluster) connect() (err error) {
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig()); err != nil {
		return err
	}
	c.Config.QPS = -1 // the tests share one client
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return err
	}
	c.Dynamic, err = dynamic.NewForConfig(c.Config)
	return err
}

// Kubeconfig is the path of the administrator's.
func (c *Cluster) Kubeconfig() string { return c.path("admin.kubeconfig") }

// Kubectl returns a call of kubectl that the caller starts.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.programs.Kubernetes, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+c.path("home"))
	return cmd
}

// start starts one of the cluster's programs. It is to run as long as the cluster.
func (c *Cluster) start(name, program string, env []string, args ...string) error {
	p, err := c.spawn(name, program, env, args...)
	if err == nil {
		c.processes = append(c.processes, p)
	}
	return err
}

// spawn starts a program that logs to a file of its name, and that the caller stops.
func (c *Cluster) spawn(name, program string, env []string, args ...string) (*process, error) {
	log, err := os.OpenFile(c.path("logs", name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Dir = append(os.Environ(), env...), c.dir
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (c *Cluster) startKubernetes(name string, args ...string) error {
	return c.start(name, filepath.Join(c.programs.Kubernetes, name), nil, args...)
}

// until asks again until the answer is nil. It fails early when one of the
// cluster's processes has ended.
func (c *Cluster) until(ctx context.Context, what string, ask func(context.Context) error) error {
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			select {
			case <-p.exited:
				return fmt.Errorf("%s ended while waiting for %s: %v\n%s", p.name, what, p.cmd.ProcessState, c.Log(p.name, 20))
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, ctx.Err(), err)
		case <-time.After(100 * time.Millisecond): // the programs signal their readiness to systemd only
		}
	}
}

// Log returns the last lines that a program has logged.
func (c *Cluster) Log(name string, lines int) string {
	b, _ := os.ReadFile(c.path("logs", name))
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Stop ends the cluster's programs, the last one first. Pods go on.
func (c *Cluster) Stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].stop()
	}
	c.processes = nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(3 * time.Second): // an API server waits for its clients
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}
