package sandbox

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// enterNamespaces joins the namespaces that the spec names and prepares those
// that the init was born in.
func (c *Config) enterNamespaces() error {
	if !c.Moved {
		if err := c.joinNamespaces(); err != nil {
			return err
		}
	}
	if c.NewCgroup {
		// Its root is the cgroup that the process is in now, so that this has
		// to come after the barrier of readConfig and joinCgroup.
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("make a cgroup namespace: %w", err)
		}
	}
	if c.CloneFlags&unix.CLONE_NEWNET != 0 {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("bring up the loopback interface: %w", err)
		}
	}
	if c.Hostname != "" {
		if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
			return invalid("hostname: set %q: %w", c.Hostname, err)
		}
	}
	if c.Domainname != "" {
		if err := unix.Setdomainname([]byte(c.Domainname)); err != nil {
			return invalid("domainname: set %q: %w", c.Domainname, err)
		}
	}
	return nil
}

// joinNamespaces enters, with the host's privileges, those that move this thread
// and not only its children.
func (c *Config) joinNamespaces() error {
	for _, ns := range c.Join {
		kind := namespaceKind(ns.Flag)
		fd, err := openNamespace(kind, ns.Path)
		if err != nil {
			return err
		}
		err = unix.Setns(fd, ns.Flag)
		unix.Close(fd)
		if err != nil {
			return invalid("linux.namespaces: enter the %s namespace %s: %w", kind, ns.Path, err)
		}
	}
	return nil
}

func openNamespace(kind, path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, control.Errorf(control.NotFound, "linux.namespaces: open the %s namespace %s: %w; is its container still running?", kind, path, err)
	}
	return fd, nil
}

func namespaceKind(flag int) string {
	switch flag {
	case unix.CLONE_NEWNET:
		return "network"
	case unix.CLONE_NEWIPC:
		return "ipc"
	case unix.CLONE_NEWUTS:
		return "uts"
	case unix.CLONE_NEWCGROUP:
		return "cgroup"
	}
	return strconv.Itoa(flag)
}

// loopbackUp is what every runtime does for a network namespace that it makes;
// the kernel adds 127.0.0.1 and ::1 by itself.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// writeProc writes what the host's /proc sets for this process and its
// namespaces. The container's own /proc, which the image or a mount may have
// tampered with, is never trusted with it.
func (c *Config) writeProc() error {
	if !c.Moved {
		if err := c.writeOOMScore(); err != nil {
			return err
		}
	}
	for _, s := range c.Sysctls {
		if err := writeFile("/proc/sys/"+s.Path, s.Value); err != nil {
			return invalid("linux.sysctl: set %s to %q: %w", s.Key, s.Value, err)
		}
	}
	return nil
}

func (c *Config) writeOOMScore() error {
	if c.OOMScoreAdj == nil {
		return nil
	}
	err := writeFile("/proc/self/oom_score_adj", strconv.Itoa(*c.OOMScoreAdj))
	// To go below what the shim was given needs CAP_SYS_RESOURCE, which
	// containerd lacks inside many virtual machines and containers; the
	// score then stays as it is.
	if err != nil && err != unix.EACCES && err != unix.EPERM {
		return invalid("process.oomScoreAdj: set %d: %w", *c.OOMScoreAdj, err)
	}
	return nil
}

// writeFile writes in one call, as files of /proc want it.
func writeFile(path, content string) error { return writeFileAt(unix.AT_FDCWD, path, content) }

func writeFileAt(dir int, path, content string) error {
	fd, err := unix.Openat(dir, path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(content))
	return err
}

// writeLabels tells the security modules what the next execve(2) of this thread
// enters; until then they confine nothing.
func (c *Config) writeLabels() error {
	proc := c.ProcFD
	if proc == 0 {
		if c.AppArmorProfile == "" && c.SELinuxLabel == "" {
			return nil
		}
		var err error
		if proc, err = unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open the host's /proc: %w", err)
		}
	}
	defer unix.Close(proc)
	if p := c.AppArmorProfile; p != "" {
		// Where modules are stacked, since Linux 5.8, only the directory of
		// its own is AppArmor's for certain.
		err := writeFileAt(proc, "thread-self/attr/apparmor/exec", "exec "+p)
		if err == unix.ENOENT && unix.Faccessat(proc, "thread-self/attr/apparmor", unix.F_OK, 0) != nil {
			err = writeFileAt(proc, "thread-self/attr/exec", "exec "+p)
		}
		if err != nil {
			return invalid("process.apparmorProfile: enter %q: %w; load it on this node or remove it", p, err)
		}
	}
	if l := c.SELinuxLabel; l != "" {
		if err := writeFileAt(proc, "thread-self/attr/exec", l); err != nil {
			return invalid("process.selinuxLabel: enter %q: %w; correct it or remove it", l, err)
		}
	}
	return nil
}
