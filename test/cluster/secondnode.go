package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/wasmshim/containerd-shim-wasm/test/cluster/node"
)

// secondNode is the name of a node that has no Wasm runtime of its own: the chart
// installs it there, and containerd restarts, while the tests on the first node go on.
const secondNode = "node-2"

// second is what runs that node. It shares machine, address and Services with the
// first one, and has containerd, kubelet, cgroups and a Pods' network of its own.
type second struct {
	*Cluster
	// config is containerd's, as its owner has written it, and socket what it
	// listens on; state holds all that the installer may write.
	config, socket, state string
	// restart is a command for the node's shell: there is no systemd. It ends the
	// daemon, which is then started again as a service is.
	restart string

	mu         sync.Mutex
	containerd *process
	stopping   bool
	supervised chan struct{} // closed when containerd is not started any more
	kubelet    *process
}

const secondContainerdConfig = `version = 3
root = %[1]q
state = "/run/containerd-2"
[grpc]
  address = %[2]q
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = %[3]q
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%[4]q]
    conf_dir = "/etc/cni/net-2.d"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.internal.v1.opt"]
  path = %[5]q
`

const secondNetwork = `{"cniVersion": "1.0.0", "name": "pods-2", "plugins": [
  {"type": "bridge", "bridge": "cni1", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.245.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
`

// secondKubeletConfig adds to that of the first node. Only Pods that tolerate the
// taint come here.
const secondKubeletConfig = `port: 10251
healthzPort: 0
cgroupRoot: /node-2
makeIPTablesUtilChains: false
registerWithTaints: [{key: example.com/second, value: "true", effect: NoSchedule}]
`

// startSecond starts the node's programs. It is to be stopped in any case.
func (c *Cluster) startSecond(ctx context.Context) (*second, error) {
	s := &second{
		Cluster: c, config: "/etc/containerd-2/config.toml", socket: "/run/containerd-2/containerd.sock", state: "/var/lib/wasm-2",
		supervised: make(chan struct{}),
	}
	pidFile, kubelet := "/run/containerd-2.pid", c.path("kubelet-2.yaml")
	s.restart = fmt.Sprintf("p=$(cat %s); kill $p; i=0; while test -d /proc/$p && test $i -lt 300; do sleep 0.1; i=$((i+1)); done", pidFile)
	config := fmt.Sprintf(secondContainerdConfig, c.path("containerd-2"), s.socket, pauseImage, c.programs.Kubernetes, c.path("opt-2"))
	kubeletText := strings.NewReplacer("podLogsDir: /var/log/pods", "podLogsDir: /var/log/pods-2").Replace(
		fmt.Sprintf(kubeletConfig, s.socket, dnsService, clusterName, maxPods)) + secondKubeletConfig
	err := errors.Join(
		appendHost(secondNode), os.MkdirAll("/etc/cni/net-2.d", 0o755), os.MkdirAll(filepath.Dir(s.config), 0o755), makeCgroups("node-2"),
		os.WriteFile("/etc/cni/net-2.d/10-pods.conflist", []byte(secondNetwork), 0o644),
		os.WriteFile(s.config, []byte(config), 0o644),
		os.WriteFile(kubelet, []byte(kubeletText), 0o644))
	if err == nil {
		err = s.startContainerd(pidFile)
	}
	if err != nil {
		close(s.supervised)
		return s, err
	}
	go s.supervise(pidFile)
	if err := c.until(ctx, "containerd of the second node", func(ctx context.Context) error { return s.ctr(ctx, "version") }); err != nil {
		return s, err
	}
	s.kubelet, err = c.spawn("kubelet-2", filepath.Join(c.programs.Kubernetes, "kubelet"), nil, "--config="+kubelet,
		"--kubeconfig="+c.kubeconfig(secondNode), "--root-dir=/var/lib/kubelet-2", "--cert-dir="+c.path("pki-2"),
		"--hostname-override="+secondNode, "--node-ip="+node.Address)
	if err != nil {
		return s, err
	}
	return s, c.until(ctx, "the second node to be Ready", func(ctx context.Context) error { return c.nodeReady(ctx, secondNode) })
}

// appendHost makes the name that of the machine, for the API server's calls of kubelet.
func appendHost(name string) error {
	f, err := os.OpenFile("/etc/hosts", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s\n", node.Address, name)
	return errors.Join(err, f.Close())
}

// makeCgroups makes a cgroup in each hierarchy of the node.
func makeCgroups(name string) error {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.controllers"); err == nil { // there is only one
		return os.MkdirAll(filepath.Join(root, name), 0o755)
	}
	hierarchies, err := filepath.Glob(root + "/*/cgroup.procs")
	for _, procs := range hierarchies {
		err = errors.Join(err, os.MkdirAll(filepath.Join(filepath.Dir(procs), name), 0o755))
	}
	return err
}

func (s *second) startContainerd(pidFile string) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return errors.New("the node is being stopped")
	}
	// No shim in the path: the installer brings its own.
	path := strings.Join([]string{s.programs.Runc, s.programs.Containerd, os.Getenv("PATH")}, ":")
	s.containerd, err = s.spawn("containerd-2", filepath.Join(s.programs.Containerd, "containerd"),
		[]string{"PATH=" + path, "CONTAINERD_SHIM_WASM_CACHE=" + filepath.Join(s.state, "cache")}, "--config", s.config)
	if err != nil {
		return err
	}
	return os.WriteFile(pidFile, []byte(strconv.Itoa(s.containerd.cmd.Process.Pid)), 0o644)
}

// supervise starts containerd again whenever it has ended.
func (s *second) supervise(pidFile string) {
	defer close(s.supervised)
	for {
		<-s.containerd.exited
		if err := s.startContainerd(pidFile); err != nil {
			return
		}
	}
}

// ctr is Cluster.ctr on this node.
func (s *second) ctr(ctx context.Context, args ...string) error {
	return s.ctrAt(ctx, s.socket, args...)
}

// stop ends the node's programs. Its Pods are to be gone before.
func (s *second) stop() {
	if s.kubelet != nil {
		s.kubelet.stop()
	}
	s.mu.Lock()
	s.stopping = true
	containerd := s.containerd
	s.mu.Unlock()
	if containerd != nil {
		containerd.stop()
	}
	<-s.supervised
}
