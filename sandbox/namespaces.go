package sandbox

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// Sysctl is a file below /proc/sys and what is written to it.
type Sysctl struct {
	// Key is the name as the spec has it.
	Key string `json:"key"`
	// Path is relative to /proc/sys.
	Path  string `json:"path"`
	Value string `json:"value"`
}

// namespaces takes over linux.namespaces, hostname and domainname.
func (c *Config) namespaces(spec *specs.Spec, linux *specs.Linux) error {
	seen := make(map[specs.LinuxNamespaceType]bool)
	for _, ns := range linux.Namespaces {
		if seen[ns.Type] {
			return invalid("linux.namespaces has %q twice; remove one", ns.Type)
		}
		seen[ns.Type] = true
		if ns.Path != "" && !filepath.IsAbs(ns.Path) {
			return invalid("linux.namespaces: the path %q of %q is not absolute; give an absolute path", ns.Path, ns.Type)
		}
		if hasNUL(ns.Path) {
			return invalid("linux.namespaces: the path %q of %q holds a NUL byte; remove it", ns.Path, ns.Type)
		}
		if err := c.namespace(ns); err != nil {
			return err
		}
	}
	if !seen[specs.MountNamespace] {
		return invalid("linux.namespaces has no mount namespace, so the container's mounts would be made on the host; add one")
	}
	c.Hostname, c.Domainname = spec.Hostname, spec.Domainname
	if c.Hostname != "" && !c.joins(unix.CLONE_NEWUTS) {
		return invalid("hostname is set to %q, but linux.namespaces has no uts namespace, so it would rename the host; add one or remove the hostname", c.Hostname)
	}
	if c.Domainname != "" && !c.joins(unix.CLONE_NEWUTS) {
		return invalid("domainname is set to %q, but linux.namespaces has no uts namespace, so it would rename the host; add one or remove the domainname", c.Domainname)
	}
	return nil
}

func (c *Config) namespace(ns specs.LinuxNamespace) error {
	flag := 0
	switch ns.Type {
	case specs.PIDNamespace:
		if ns.Path != "" {
			c.PidPath = ns.Path
			return nil
		}
		flag = unix.CLONE_NEWPID
	case specs.NetworkNamespace:
		flag = unix.CLONE_NEWNET
	case specs.IPCNamespace:
		flag = unix.CLONE_NEWIPC
	case specs.UTSNamespace:
		flag = unix.CLONE_NEWUTS
	case specs.MountNamespace:
		// pivot_root moves the root of every process in the namespace, and the
		// mounts of this container would land in all of them.
		if ns.Path != "" {
			return invalid("linux.namespaces: the mount namespace has the path %q, but a Wasm container builds its mounts in a namespace of its own; remove the path", ns.Path)
		}
		flag = unix.CLONE_NEWNS
	case specs.CgroupNamespace:
		if ns.Path == "" {
			c.NewCgroup = true
			return nil
		}
		flag = unix.CLONE_NEWCGROUP
	case specs.UserNamespace:
		c.User = &UserNamespace{Path: ns.Path}
		return nil
	case specs.TimeNamespace:
		c.Time = &TimeNamespace{Path: ns.Path}
		return nil
	default:
		return invalid("linux.namespaces has the unknown type %q; remove it", ns.Type)
	}
	if ns.Path != "" {
		c.Join = append(c.Join, Namespace{Flag: flag, Path: ns.Path})
	} else {
		c.CloneFlags |= uintptr(flag)
	}
	return nil
}

// sysctls takes over linux.sysctl. Only keys that belong to a namespace which
// the container does not share with the host are accepted.
func (c *Config) sysctls(_ *specs.Spec, linux *specs.Linux) error {
	// Sorted, so that the same spec gives the same Config and the same error.
	for _, key := range slices.Sorted(maps.Keys(linux.Sysctl)) {
		path := sysctlPath(key)
		if path == "" || hasNUL(path) || path != filepath.Clean("/" + path)[1:] {
			return invalid("linux.sysctl: %q is not the name of a sysctl; correct it", key)
		}
		if err := c.namespaced(key, path); err != nil {
			return err
		}
		c.Sysctls = append(c.Sysctls, Sysctl{Key: key, Path: path, Value: linux.Sysctl[key]})
	}
	return nil
}

func (c *Config) namespaced(key, path string) error {
	shared := func(kind string) error {
		return invalid("linux.sysctl: %q belongs to the %s namespace, which this container shares with the host; give the container its own or remove the sysctl", key, kind)
	}
	switch {
	case path == "kernel/hostname":
		return invalid("linux.sysctl: %q sets what the field hostname sets; use hostname", key)
	case path == "kernel/domainname":
		if !c.joins(unix.CLONE_NEWUTS) {
			return shared("uts")
		}
	case slices.Contains(ipcSysctls(), path), strings.HasPrefix(path, "fs/mqueue/"):
		if !c.joins(unix.CLONE_NEWIPC) {
			return shared("ipc")
		}
	case strings.HasPrefix(path, "net/"):
		host, err := c.hostNetwork()
		if err != nil {
			return err
		}
		if host {
			return shared("network")
		}
	default:
		return invalid("linux.sysctl: %q is not namespaced and would change the whole host; set it on the node instead", key)
	}
	return nil
}

// hostNetwork also recognises a path that leads back to our own namespace, as
// /proc/1/ns/net does.
func (c *Config) hostNetwork() (bool, error) {
	for _, ns := range c.Join {
		if ns.Flag != unix.CLONE_NEWNET {
			continue
		}
		theirs, err := os.Stat(ns.Path)
		if err != nil {
			return false, control.Errorf(control.NotFound, "linux.namespaces: network namespace: %w", err)
		}
		// Of this thread: the main thread may hold the namespaces of a Pod.
		ours, err := os.Stat("/proc/thread-self/ns/net")
		if err != nil {
			return false, err
		}
		return os.SameFile(theirs, ours), nil
	}
	return c.CloneFlags&unix.CLONE_NEWNET == 0, nil
}

func ipcSysctls() []string {
	return []string{
		"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem",
		"kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced",
	}
}

// sysctlPath turns a name into a path. As in sysctl(8), the first separator
// decides: "net/ipv4/conf/eth0.1/rp_filter" is a path already, and in
// "net.ipv4.conf.eth0/1.rp_filter" dot and slash change places.
func sysctlPath(key string) string {
	first := strings.IndexAny(key, "./")
	if first < 0 || key[first] == '/' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, key)
}
