package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/wasmshim/containerd-shim-wasm/test/cluster/node"
)

const (
	serviceRange = "10.96.0.0/16"
	apiService   = "10.96.0.1"
	dnsService   = "10.96.0.10"
	podRange     = "10.244.0.0/16"
	clusterName  = "cluster.local"
	etcdURL      = "http://127.0.0.1:2379"
	apiServer    = "https://" + node.Address + ":6443"
)

// users are those with a static token, which is their name, and their groups.
var users = []struct{ name, groups string }{
	{"admin", "system:masters"},
	{"system:kube-controller-manager", ""},
	{"system:kube-scheduler", ""},
	{"system:kube-proxy", ""},
	{"system:node:" + node.Name, "system:nodes"},
	{"system:node:" + secondNode, "system:nodes"},
}

// kubeconfig is the path of a user's.
func (c *Cluster) kubeconfig(user string) string {
	return c.path(user[strings.LastIndex(user, ":")+1:] + ".kubeconfig")
}

func (c *Cluster) writeCredentials(context.Context) (err error) {
	for _, dir := range []string{"pki", "logs", "home", "etcd"} {
		if err := os.MkdirAll(c.path(dir), 0o755); err != nil {
			return err
		}
	}
	if c.pki, err = newAuthority(c.path("pki")); err != nil {
		return err
	}
	err = errors.Join(
		c.pki.issue("apiserver", "kube-apiserver", []string{"127.0.0.1", node.Address, apiService},
			"localhost", "kubernetes", "kubernetes.default.svc"),
		c.pki.issue("front-proxy", "front-proxy", nil),
		c.pki.serviceAccountKeys())
	var tokens strings.Builder
	for _, u := range users {
		fmt.Fprintf(&tokens, "token-of-%s,%s,%s,%q\n", u.name, u.name, u.name, u.groups)
		err = errors.Join(err, os.WriteFile(c.kubeconfig(u.name), fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
`, apiServer, c.pki.path("ca.crt"), "token-of-"+u.name), 0o600))
	}
	return errors.Join(err, os.WriteFile(c.path("tokens.csv"), []byte(tokens.String()), 0o600))
}

func (c *Cluster) startControlPlane(ctx context.Context) error {
	peer := "http://127.0.0.1:2380"
	err := c.startKubernetes("etcd", "--data-dir", c.path("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	if err != nil {
		return err
	}
	err = c.startKubernetes("kube-apiserver",
		"--etcd-servers="+etcdURL, "--secure-port=6443", "--advertise-address="+node.Address,
		"--cert-dir="+c.path("pki"), "--tls-cert-file="+c.pki.path("apiserver.crt"), "--tls-private-key-file="+c.pki.path("apiserver.key"),
		"--token-auth-file="+c.path("tokens.csv"), "--authorization-mode=Node,RBAC", "--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.pki.path("sa.pub"), "--service-account-signing-key-file="+c.pki.path("sa.key"),
		"--service-cluster-ip-range="+serviceRange,
		// For metrics-server, which is an extension of this server.
		"--requestheader-client-ca-file="+c.pki.path("ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+c.pki.path("front-proxy.crt"), "--proxy-client-key-file="+c.pki.path("front-proxy.key"))
	if err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	err = c.until(ctx, "kube-apiserver", func(ctx context.Context) error {
		return c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err != nil {
		return err
	}
	return errors.Join(
		c.startKubernetes("kube-controller-manager", "--kubeconfig="+c.kubeconfig("kube-controller-manager"),
			"--leader-elect=false", "--use-service-account-credentials=true", "--cert-dir="+c.path("pki"),
			"--root-ca-file="+c.pki.path("ca.crt"), "--service-account-private-key-file="+c.pki.path("sa.key"),
			"--kube-api-qps=200", "--kube-api-burst=400",
			// A load that has been seen once is answered without the usual half minute.
			"--horizontal-pod-autoscaler-sync-period=3s", "--horizontal-pod-autoscaler-initial-readiness-delay=1s",
			"--horizontal-pod-autoscaler-cpu-initialization-period=1s"),
		c.startKubernetes("kube-scheduler", "--kubeconfig="+c.kubeconfig("kube-scheduler"), "--leader-elect=false",
			"--kube-api-qps=200", "--kube-api-burst=400"),
	)
}
