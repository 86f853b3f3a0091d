package shim

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/pkg/sys"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/sandbox"
	"github.com/wasmshim/containerd-shim-wasm/sandbox/pause"
)

const (
	// holderUser is that of the pause image.
	holderUser = 65535
	// holderOOMScore is what CRI gives pause containers: of a Pod's processes, the
	// kernel shall kill this one last.
	holderOOMScore = -998
	// holderShares is the least weight for the processor.
	holderShares = 2
)

// spec is the OCI spec of what holds the namespaces of the Pod: those of what CRI
// asks for with a pause container, and no file system but an empty root.
// userNamespace is the path of the Pod's, where it has one already.
func (p *pod) spec(userNamespace string) *specs.Spec {
	shares, score := uint64(holderShares), holderOOMScore
	s := &specs.Spec{
		Root:     &specs.Root{Path: filepath.Join(p.bundle, "rootfs"), Readonly: true},
		Hostname: p.config.hostname,
		Process: &specs.Process{
			Cwd:             "/",
			User:            specs.User{UID: holderUser, GID: holderUser},
			NoNewPrivileges: true,
			Capabilities:    &specs.LinuxCapabilities{},
			OOMScoreAdj:     &score,
		},
		Linux: &specs.Linux{
			CgroupsPath: p.config.holderCgroup(p.id),
			Resources:   &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}},
			Sysctl:      p.config.allSysctls(p.defaults),
			Seccomp:     holderProfile(),
			Namespaces:  []specs.LinuxNamespace{{Type: specs.MountNamespace}},
		},
	}
	add := func(kind specs.LinuxNamespaceType, path string) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: kind, Path: path})
	}
	if p.config.network != namespaceNode {
		add(specs.NetworkNamespace, p.network)
		add(specs.UTSNamespace, "")
	}
	if p.config.ipc != namespaceNode {
		add(specs.IPCNamespace, "")
	}
	if p.config.pid == namespacePod {
		add(specs.PIDNamespace, "")
	}
	if p.config.userNamespace {
		add(specs.UserNamespace, userNamespace)
		s.Linux.UIDMappings, s.Linux.GIDMappings = p.config.uids, p.config.gids
		s.Process.User = specs.User{} // the only ids that are sure to be mapped
	}
	return s
}

// needsProcess says whether the Pod has namespaces that no thread can have for
// itself.
func (c *podConfig) needsProcess() bool { return c.pid == namespacePod || c.userNamespace }

// holderCgroup is where CRI puts a pause container.
func (c *podConfig) holderCgroup(id string) string {
	if c.cgroupParent == "" {
		return ""
	}
	if slice := path.Base(c.cgroupParent); strings.HasSuffix(slice, ".slice") {
		return slice + ":cri-containerd:" + id
	}
	return path.Join(c.cgroupParent, id)
}

// podDefaults are sysctls that CRI sets for each Pod unless its own settings,
// which no shim can see, say otherwise.
type podDefaults struct{ ports, icmp bool }

// podSysctlsVariable tells a server which of podDefaults its options take away.
const podSysctlsVariable = "CONTAINERD_SHIM_WASM_PRIVILEGED"

// environment is what a server reads with podDefaultsFromEnv.
func (d podDefaults) environment() []string {
	var without []string
	if !d.ports {
		without = append(without, "ports")
	}
	if !d.icmp {
		without = append(without, "icmp")
	}
	return []string{podSysctlsVariable + "=" + strings.Join(without, ",")}
}

func podDefaultsFromEnv() podDefaults {
	without := os.Getenv(podSysctlsVariable)
	return podDefaults{ports: !strings.Contains(without, "ports"), icmp: !strings.Contains(without, "icmp")}
}

// allSysctls are those that the Pod asks for, and those that it has by default.
func (c *podConfig) allSysctls(defaults podDefaults) map[string]string {
	all := make(map[string]string)
	if c.network != namespaceNode {
		if defaults.ports {
			all["net.ipv4.ip_unprivileged_port_start"] = "0"
		}
		if defaults.icmp && !c.userNamespace && !userns.RunningInUserNS() {
			all["net.ipv4.ping_group_range"] = "0 2147483647"
		}
	}
	maps.Copy(all, c.sysctls)
	return all
}

// holderProfile is what the pause program needs, and before it the init, a program
// of Go.
func holderProfile() *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Syscalls: []specs.LinuxSyscall{{
			Action: specs.ActAllow,
			Names:  append(pause.Calls(), sandbox.RuntimeCalls()...),
		}},
	}
}

// userNamespaceOf opens the user namespace that owns a network namespace: CRI has
// made both for the Pod. The path is good for as long as the file is open.
func userNamespaceOf(network string) (_ *os.File, path string, _ error) {
	net, err := os.Open(network)
	if err != nil {
		return nil, "", fmt.Errorf("open the Pod's network namespace: %w", err)
	}
	defer net.Close()
	user, err := sys.GetUsernsForNamespace(net.Fd())
	if err != nil {
		return nil, "", fmt.Errorf("find the user namespace of network namespace %s: %w", network, err)
	}
	return user, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), user.Fd()), nil
}
