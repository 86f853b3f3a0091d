package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wasmshim/containerd-shim-wasm/test/cluster/node"
)

const containerdSocket = "/run/containerd/containerd.sock"

// containerdConfig is what a node's owner writes, but for the scores that take
// CAP_SYS_RESOURCE to lower. The runtime wasm is as docs/kubernetes.md says.
const containerdConfig = `version = 3
root = %[1]q
state = "/run/containerd"
[grpc]
  address = %[2]q
[debug]
  level = "debug"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = %[3]q
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%[4]q]
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.wasm]
    runtime_type = "io.containerd.wasm.v1"
    pod_annotations = ["io.containerd.wasm.v1/*", "run.oci.handler"]
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.wasm-without-pause]
    runtime_type = "io.containerd.wasm.v1"
    pod_annotations = ["io.containerd.wasm.v1/*", "run.oci.handler"]
    sandboxer = "shim"
    disable_pause_image_pull = true
[plugins."io.containerd.internal.v1.opt"]
  path = %[5]q
`

// registryPort is that of a registry on the node's own address, which speaks
// plain HTTP.
const (
	registryPort  = "5000"
	registryHosts = "/etc/containerd/certs.d/" + node.Address + ":" + registryPort
)

// network is the Pods' network: a bridge, and Services by kube-proxy.
const network = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "promiscMode": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}]}
`

func (c *Cluster) startContainerd(ctx context.Context) error {
	config := fmt.Sprintf(containerdConfig, c.path("containerd"), containerdSocket, pauseImage, c.programs.Kubernetes, c.path("opt"))
	if err := errors.Join(
		os.MkdirAll("/etc/cni/net.d", 0o755),
		os.MkdirAll(registryHosts, 0o755),
		os.WriteFile(registryHosts+"/hosts.toml", fmt.Appendf(nil, "server = %q\n", "http://"+node.Address+":"+registryPort), 0o644),
		os.WriteFile("/etc/cni/net.d/10-pods.conflist", fmt.Appendf(nil, network, podRange), 0o644),
		os.WriteFile(c.path("containerd.toml"), []byte(config), 0o644),
	); err != nil {
		return err
	}
	path := strings.Join([]string{c.programs.Shim, c.programs.Runc, c.programs.Containerd, os.Getenv("PATH")}, ":")
	if err := c.start("containerd", filepath.Join(c.programs.Containerd, "containerd"), []string{"PATH=" + path}, "--config", c.path("containerd.toml")); err != nil {
		return err
	}
	err := c.until(ctx, "containerd", func(ctx context.Context) error { return c.ctr(ctx, "version") })
	if err != nil {
		return err
	}
	return c.importImages(ctx)
}

// ctr runs containerd's client in the namespace of Pods.
func (c *Cluster) ctr(ctx context.Context, args ...string) error {
	return c.ctrAt(ctx, containerdSocket, args...)
}

func (c *Cluster) ctrAt(ctx context.Context, socket string, args ...string) error {
	args = append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)
	out, err := exec.CommandContext(ctx, filepath.Join(c.programs.Containerd, "ctr"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %s: %w\n%s", strings.Join(args[4:], " "), err, out)
	}
	return nil
}

// kubeletConfig: nothing is evicted or collected from a machine that others fill,
// and what only matters to real traffic is quicker than by default.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://%[1]s
cgroupDriver: cgroupfs
failCgroupV1: false # since 1.35 kubelet refuses such machines by default
failSwapOn: false
oomScoreAdj: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
clusterDNS: [%[2]q]
clusterDomain: %[3]s
resolvConf: ""
maxPods: %[4]d
registryPullQPS: 0
eventRecordQPS: 0
podLogsDir: /var/log/pods
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 0%%, nodefs.inodesFree: 0%%, imagefs.available: 0%%, imagefs.inodesFree: 0%%}
allowedUnsafeSysctls: [net.core.somaxconn]
nodeStatusUpdateFrequency: 2s
`

// maxPods is more than the 110 of a kubelet by default, for the tests of many.
const maxPods = 300

const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %[1]q}
mode: nftables
clusterCIDR: %[2]s
hostnameOverride: %[3]s
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nftables: {minSyncPeriod: 100ms}
`

func (c *Cluster) startNode(ctx context.Context) error {
	if err := errors.Join(
		os.WriteFile(c.path("kubelet.yaml"), fmt.Appendf(nil, kubeletConfig, containerdSocket, dnsService, clusterName, maxPods), 0o644),
		os.WriteFile(c.path("kube-proxy.yaml"), fmt.Appendf(nil, proxyConfig, c.kubeconfig("kube-proxy"), podRange, node.Name), 0o644),
		c.startKubernetes("kubelet", "--config="+c.path("kubelet.yaml"), "--kubeconfig="+c.kubeconfig(node.Name), "--root-dir=/var/lib/kubelet",
			"--cert-dir="+c.path("pki"), "--hostname-override="+node.Name, "--node-ip="+node.Address, "--v=2"),
		c.startKubernetes("kube-proxy", "--config="+c.path("kube-proxy.yaml")),
	); err != nil {
		return err
	}
	return c.until(ctx, "the node to be Ready", func(ctx context.Context) error { return c.nodeReady(ctx, node.Name) })
}

func (c *Cluster) nodeReady(ctx context.Context, name string) error {
	n, err := c.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, cond := range n.Status.Conditions {
		if cond.Type == corev1.NodeReady {
			if cond.Status == corev1.ConditionTrue {
				return nil
			}
			return errors.New(cond.Message)
		}
	}
	return errors.New("it has no condition yet")
}
