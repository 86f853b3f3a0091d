package kind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Programs are the files that a cluster is made with.
type Programs struct {
	Path     string // as PATH: kind, kubectl and helm, and Docker's unless it is the machine's
	Node     string // a root as a tar; see provision.Store.KindNode
	Chart    string
	Image    string // the installer's, as a tar
	Checkout string
	Busybox  string
	Guests   map[string]string // by their names
}

// Cluster is a kind cluster of one node.
type Cluster struct {
	Name string

	dir      string
	programs Programs
	progress io.Writer
	began    time.Time
	// network tells whether kind's network of Docker is this cluster's to remove.
	network bool
}

// createTime is many times what a busy machine of two processors needs.
const createTime = 6 * time.Minute

// config is that of the cluster. Nothing is evicted from a machine that others fill.
const config = `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  disableDefaultCNI: true # the node has its own
  kubeProxyMode: nftables
  ipFamily: ipv4
nodes:
- role: control-plane
  kubeadmConfigPatches:
  - |
    kind: KubeletConfiguration
    failCgroupV1: false # since 1.35 kubelet refuses such machines by default
    failSwapOn: false
    oomScoreAdj: 0
    evictionHard: {memory.available: 50Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}
`

// New describes a cluster that writes below dir; it does nothing yet.
func New(name, dir string, p Programs, progress io.Writer) *Cluster {
	return &Cluster{Name: name, dir: dir, programs: p, progress: progress, began: time.Now()}
}

// Create brings the cluster up. It is to be deleted in any case.
func (c *Cluster) Create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, createTime)
	defer cancel()
	if err := os.WriteFile(c.path("kind.yaml"), []byte(config), 0o644); err != nil {
		return err
	}
	if _, err := c.Run(ctx, "", "docker", "network", "inspect", "kind"); err != nil {
		c.network = true
	}
	_, err := c.Run(ctx, "", "docker", "import", "--change", `ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]`,
		"--change", "ENV container=docker", c.programs.Node, c.image())
	if err != nil {
		return err
	}
	c.Say("the node's image is in Docker")
	// A node that did not come up is kept for its logs.
	_, err = c.Run(ctx, "", "kind", "create", "cluster", "--name", c.Name, "--image", c.image(), "--config", c.path("kind.yaml"), "--retain", "--wait", "180s")
	if err != nil {
		return err
	}
	c.Say("the control plane is up")
	for _, what := range []string{"deployment/coredns", "daemonset/kube-proxy"} {
		if _, err := c.Run(ctx, "", "kubectl", "-n", "kube-system", "rollout", "status", what, "--timeout=120s"); err != nil {
			return err
		}
	}
	c.Say("the cluster is up")
	return nil
}

func (c *Cluster) image() string { return "localhost/kind-node-of-" + c.Name + ":1" }

// Delete removes the cluster and all that is its own in Docker.
func (c *Cluster) Delete(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	_, err := c.Run(ctx, "", "kind", "delete", "cluster", "--name", c.Name)
	_, rmErr := c.Run(ctx, "", "docker", "image", "rm", "--force", c.image())
	err = errors.Join(err, rmErr)
	if c.network {
		// Another cluster of the user's may have begun to use it.
		_, _ = c.Run(ctx, "", "docker", "network", "rm", "kind")
	}
	c.Say("the cluster is deleted")
	return err
}

// KeepLogs writes what kind finds worth keeping of its nodes to a directory, but for
// the list of images: the node has no crictl.
func (c *Cluster) KeepLogs(ctx context.Context, dir string) {
	_, _ = c.Run(ctx, "", "kind", "export", "logs", "--name", c.Name, dir)
	c.Say("logs are in %s", dir)
}

// OnNode runs a command on the node and returns what it prints.
func (c *Cluster) OnNode(ctx context.Context, args ...string) (string, error) {
	return c.Run(ctx, "", append([]string{"docker", "exec", c.Name + "-control-plane"}, args...)...)
}

// Run runs a user's command, with stdin, to its end and returns all its output.
func (c *Cluster) Run(ctx context.Context, stdin string, args ...string) (string, error) {
	// This process's own PATH is that of the machine, whose versions are others.
	program := args[0]
	for _, dir := range filepath.SplitList(c.programs.Path) {
		if file, err := exec.LookPath(filepath.Join(dir, args[0])); err == nil {
			program = file
			break
		}
	}
	cmd := exec.CommandContext(ctx, program, args[1:]...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.path("kubeconfig"), "PATH="+c.programs.Path+":"+os.Getenv("PATH"))
	cmd.Dir = c.programs.Checkout
	cmd.Stdin = strings.NewReader(stdin)
	// A child of a killed command does not hold it up.
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Say tells how far it is.
func (c *Cluster) Say(format string, args ...any) {
	fmt.Fprintf(c.progress, "cluster: %5.1f s  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}
