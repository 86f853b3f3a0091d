package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// beInit makes the node's mounts and network, runs the program inside, and reaps
// whatever has lost its parent until the program ends. It returns its exit code.
func beInit() (int, error) {
	for _, step := range []func() error{mountSystem, mountCgroups, mountCopies, mountSysctls, makeNetwork} {
		if err := step(); err != nil {
			return 0, err
		}
	}
	// kubelet wants to see what Pods mount on its own mounts.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return 0, err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageVariable+"="+stageInside)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait: %w", err)
		}
		if pid == cmd.Process.Pid {
			if status.Signaled() {
				return 0, fmt.Errorf("the program inside was ended by %v", status.Signal())
			}
			return status.ExitStatus(), nil
		}
	}
}

func mountSystem() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for _, m := range []struct{ kind, at, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""}, // that of the network namespace
		{"tmpfs", "/run", "mode=755"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return os.Mkdir("/run/lock", 0o755)
}

// mountCopies gives the node /etc and /var that can be written to, and of which
// the machine sees nothing.
func mountCopies() error {
	for _, dir := range []string{"etc", "var"} {
		upper, work := path("overlay", dir, "upper"), path("overlay", dir, "work")
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		options := fmt.Sprintf("lowerdir=/%s,upperdir=%s,workdir=%s", dir, upper, work)
		if err := unix.Mount("overlay", "/"+dir, "overlay", 0, options); err != nil {
			return fmt.Errorf("mount /%s: %w", dir, err)
		}
	}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", Address, Name)
	return errors.Join(
		unix.Sethostname([]byte(Name)),
		os.WriteFile("/etc/hosts", []byte(hosts), 0o644),
		os.WriteFile("/etc/resolv.conf", nil, 0o644),
	)
}

// mountSysctls puts files in the place of those sysctls that kubelet sets and
// that no namespace has of its own.
func mountSysctls() error {
	for _, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"} {
		at := filepath.Join("/proc/sys", name)
		value, err := os.ReadFile(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		file := filepath.Join("/run", "sysctl-"+strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(file, value, 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	return nil
}

// makeNetwork gives the node an interface with its address. Both ends of the pair
// are in the node: nothing leads out.
func makeNetwork() error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "eth0", "type", "veth", "peer", "name", "eth0-peer"},
		{"address", "add", Address + "/24", "dev", "eth0"},
		{"link", "set", "eth0-peer", "up"},
		{"link", "set", "eth0", "up"},
		{"route", "add", "default", "dev", "eth0"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	// Services of a Pod's own bridge pass the filter only with the second one,
	// which a kernel without the module does not have.
	err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	if err == nil {
		err = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
