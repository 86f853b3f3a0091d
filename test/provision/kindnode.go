package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// kindModule pins kind.
const kindModule = "test/daemons/kind"

// Kind returns the path of kind's command.
func (s *Store) Kind(ctx context.Context) (string, error) {
	dir, err := s.goTools(ctx, "kind", "", kindModule, goBuild{env: []string{"CGO_ENABLED=0"}, flags: []string{"-trimpath", "-ldflags", "-s -w"}})
	return filepath.Join(dir, "kind"), err
}

// nodePackages are those of kind's own base image that the node of a test needs,
// what every Debian has, and runc.
var nodePackages = []string{
	"systemd", "conntrack", "iptables", "nftables", "iproute2", "ethtool", "util-linux", "mount", "kmod", "jq", "procps", "runc",
	"base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "dpkg", "findutils", "grep", "gzip", "hostname", "libc-bin", "mawk", "sed", "tar",
}

// kindNode is the root of a node while it is made.
type kindNode struct {
	root string
	// kind, kubernetes and containerd are the directories of kind's files, and of programs.
	kind, kubernetes, containerd string
	pause                        string
	version                      string // of Kubernetes, with its v
}

// KindNode returns a tar of the root of a kind node, for `docker import`: Debian's
// packages, the files of kind's own base image, Kubernetes, containerd, and in its
// store the images of a control plane.
func (s *Store) KindNode(ctx context.Context) (string, error) {
	var (
		n   kindNode
		err error
	)
	if n.kubernetes, err = s.Kubernetes(ctx); err != nil {
		return "", err
	}
	if n.containerd, err = s.Containerd(ctx, "2.4"); err != nil {
		return "", err
	}
	if n.pause, err = s.Pause(ctx); err != nil {
		return "", err
	}
	if n.version, err = s.kubernetesVersion(ctx); err != nil {
		return "", err
	}
	if _, err := s.inModule(kindModule, "go", "mod", "download", "sigs.k8s.io/kind").run(ctx); err != nil {
		return "", err
	}
	module, err := s.inModule(kindModule, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kind").run(ctx)
	if err != nil {
		return "", err
	}
	n.kind = filepath.Join(strings.TrimSpace(module), "images/base/files")
	systemd, err := s.candidate(ctx, "systemd")
	if err != nil {
		return "", err
	}
	key, err := s.digest([]string{filepath.Base(n.kubernetes), filepath.Base(n.containerd), n.pause, module, systemd},
		"test/provision/debianroot.go", "test/provision/kindnode.go", "test/provision/kindimages.go")
	if err != nil {
		return "", err
	}
	dir, err := s.entry(ctx, "kind-node-"+key, func(ctx context.Context, dir string) error {
		n.root = filepath.Join(dir, "root")
		if err := os.Mkdir(n.root, 0o755); err != nil {
			return err
		}
		for _, step := range []func(context.Context) error{n.unpackDebian, n.copyKind, n.configure, n.copyPrograms, n.loadImages} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		pack := command{args: []string{"tar", "--numeric-owner", "--sort=name", "-C", n.root, "-cf", filepath.Join(dir, "node.tar"), "."}}
		if _, err := pack.run(ctx); err != nil {
			return err
		}
		return os.RemoveAll(n.root)
	})
	return filepath.Join(dir, "node.tar"), err
}

func (n *kindNode) path(elem ...string) string {
	return filepath.Join(append([]string{n.root}, elem...)...)
}

func (n *kindNode) unpackDebian(ctx context.Context) error {
	if err := debianRoot(ctx, n.root, nodePackages...); err != nil {
		return err
	}
	type names = [2]string
	err := errors.Join(
		alternative(ctx, n.root, "/usr/bin/awk", "/usr/bin/mawk"),
		alternative(ctx, n.root, "/usr/bin/which", "/usr/bin/which.debianutils"))
	// kind's entrypoint chooses between the two.
	for _, tables := range []string{"/usr/sbin/iptables", "/usr/sbin/ip6tables"} {
		for _, kind := range []string{"-legacy", "-nft"} {
			err = errors.Join(err, alternative(ctx, n.root, tables, tables+kind,
				names{tables + "-save", tables + kind + "-save"}, names{tables + "-restore", tables + kind + "-restore"}))
		}
	}
	for _, name := range []string{"passwd", "group"} {
		err = errors.Join(err, copyFile(n.path("usr/share/base-passwd", name+".master"), n.path("etc", name), 0o644))
	}
	for _, name := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"} {
		err = errors.Join(err, os.RemoveAll(n.path(name)))
	}
	return err
}

// copyKind copies kind's files with the modes that its Dockerfile gives them.
func (n *kindNode) copyKind(context.Context) error {
	return filepath.WalkDir(n.kind, func(from string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(n.kind, from)
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(rel, "usr/local/bin/") || strings.HasPrefix(rel, "kind/bin/") {
			mode = 0o755
		}
		return copyFile(from, n.path(rel), mode)
	})
}

// wants are the directories of links by which systemd starts what a container
// does not need, or must not do to the machine around it.
var wants = []string{
	"lib/systemd/system/multi-user.target.wants/*", "lib/systemd/system/local-fs.target.wants/*", "lib/systemd/system/basic.target.wants/*",
	"lib/systemd/system/sockets.target.wants/*udev*", "lib/systemd/system/sockets.target.wants/*initctl*",
	"lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
}

var (
	scoresAndLimits = regexp.MustCompile(`(?m)^(OOMScoreAdjust|Limit\w+)=.*\n`)
	startsInit      = regexp.MustCompile(`(?m)^log_info 'starting init'$`)
)

// hideSysctls puts files in the place of those sysctls that kubelet sets and that
// are the whole machine's.
const hideSysctls = `mkdir -p /kind/sys
for s in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  [ -e "/proc/sys/$s" ] || continue
  cat "/proc/sys/$s" > "/kind/sys/${s//\//_}"
  mount --bind "/kind/sys/${s//\//_}" "/proc/sys/$s"
done
log_info 'starting init'`

// nodeNetwork is the network of a cluster of one node. kind's own plugin comes in
// an image only.
const nodeNetwork = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
`

// noStorage stands for the storage class that kind brings: its provisioner comes in
// an image only.
const noStorage = `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: standard}, provisioner: none/none}
`

// configure does what the Dockerfile of kind's base image does to systemd, and
// leaves to the machine what takes CAP_SYS_RESOURCE, which not every one has.
func (n *kindNode) configure(context.Context) error {
	for _, pattern := range wants {
		found, err := filepath.Glob(n.path(pattern))
		if err != nil {
			return err
		}
		for _, f := range found {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	const units = "etc/systemd/system"
	for _, dir := range []string{
		units + "/multi-user.target.wants", "etc/systemd/system.conf.d", "etc/systemd/journald.conf.d",
		"etc/kubernetes/manifests", "etc/cni/net.d", "kind/manifests",
	} {
		if err := os.MkdirAll(n.path(dir), 0o755); err != nil {
			return err
		}
	}
	links := map[string]string{
		"sbin/init":                          "/usr/lib/systemd/systemd",
		units + "/default.target":            "/lib/systemd/system/multi-user.target",
		units + "/systemd-binfmt.service":    "/dev/null", // it registers with the kernel
		units + "/getty.target":              "/dev/null",
		units + "/systemd-firstboot.service": "/dev/null",
	}
	for _, service := range []string{"kubelet", "containerd", "undo-mount-hacks"} {
		links[units+"/multi-user.target.wants/"+service+".service"] = "/" + units + "/" + service + ".service"
	}
	for link, to := range links {
		if err := os.Symlink(to, n.path(link)); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{
		"etc/systemd/journald.conf.d/node.conf": "[Journal]\nReadKMsg=no\n",
		"etc/systemd/system.conf.d/node.conf":   "[Manager]\nDefaultOOMScoreAdjust=0\n",
		"etc/cni/net.d/10-pods.conflist":        nodeNetwork,
		"kind/manifests/default-storage.yaml":   noStorage,
		"kind/version":                          n.version,
	} {
		if err := os.WriteFile(n.path(name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(
		n.edit("usr/local/bin/entrypoint", startsInit, hideSysctls),
		n.edit("etc/systemd/system/containerd.service", scoresAndLimits, ""),
		n.edit("lib/systemd/system/systemd-journald.service", scoresAndLimits, ""),
		n.edit("etc/containerd/config.toml", regexp.MustCompile(`restrict_oom_score_adj = false`), `restrict_oom_score_adj = true`))
}

// edit replaces what matches in a file, which has to match.
func (n *kindNode) edit(name string, pattern *regexp.Regexp, by string) error {
	b, err := os.ReadFile(n.path(name))
	if err != nil {
		return err
	}
	if !pattern.Match(b) {
		return fmt.Errorf("/%s has nothing like %v", name, pattern)
	}
	return os.WriteFile(n.path(name), pattern.ReplaceAllLiteral(b, []byte(by)), 0)
}

func (n *kindNode) copyPrograms(ctx context.Context) error {
	for dir, programs := range map[string][]string{
		"usr/local/bin": {n.containerd + "/containerd", n.containerd + "/ctr", n.containerd + "/containerd-shim-runc-v2"},
		"usr/bin":       {n.kubernetes + "/kubeadm", n.kubernetes + "/kubelet", n.kubernetes + "/kubectl"},
		"opt/cni/bin":   {n.kubernetes + "/host-local", n.kubernetes + "/loopback", n.kubernetes + "/bridge", n.kubernetes + "/portmap"},
	} {
		for _, p := range programs {
			if err := copyFile(p, n.path(dir, filepath.Base(p)), 0o755); err != nil {
				return err
			}
		}
	}
	return n.writeBaseSpec(ctx)
}

// writeBaseSpec writes what kind's containerd begins a native container's
// specification with: the default, without limits, and with kind's hook.
func (n *kindNode) writeBaseSpec(ctx context.Context) error {
	out, err := command{args: []string{filepath.Join(n.containerd, "ctr"), "oci", "spec"}}.run(ctx)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal([]byte(out), &spec); err != nil {
		return err
	}
	if process, ok := spec["process"].(map[string]any); ok {
		delete(process, "rlimits")
	}
	spec["hooks"] = map[string]any{"createContainer": []any{map[string]any{"path": "/kind/bin/mount-product-files.sh"}}}
	b, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(n.path("etc/containerd/cri-base.json"), b, 0o644)
}

func copyFile(from, to string, mode fs.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, mode)
}
