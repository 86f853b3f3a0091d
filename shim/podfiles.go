package shim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Files of a Pod, in the bundle of its sandbox. CRI's own directories for them are
// no place: it removes those at its next start.
const (
	podHostname   = "hostname"
	podHosts      = "hosts"
	podResolvConf = "resolv.conf"
	podShm        = "shm"
)

// shmSize is the size of a Pod's /dev/shm, as CRI has it.
const shmSize = 64 << 20

// maxPodFile bounds what is copied from the host's /etc.
const maxPodFile = 1 << 20

// makeFiles writes what the containers of the Pod find in /etc, and mounts its
// /dev/shm.
func (p *pod) makeFiles() error {
	hostname := p.config.hostname
	if hostname == "" {
		var err error
		if hostname, err = os.Hostname(); err != nil {
			return fmt.Errorf("find the host's name: %w", err)
		}
	}
	hosts, err := readHostFile("/etc/hosts")
	if err != nil {
		return err
	}
	resolver := p.config.dns.resolvConf()
	if p.config.dns == nil {
		if resolver, err = readHostFile("/etc/resolv.conf"); err != nil {
			return err
		}
	}
	for name, content := range map[string][]byte{podHostname: []byte(hostname + "\n"), podHosts: hosts, podResolvConf: resolver} {
		if err := p.writeFile(name, content); err != nil {
			return fmt.Errorf("write the Pod's file %s: %w", name, err)
		}
	}
	if p.config.ipc == namespaceNode {
		return nil
	}
	shm := filepath.Join(p.bundle, podShm)
	if err := os.Mkdir(shm, 0o700); err != nil {
		return fmt.Errorf("make the Pod's /dev/shm: %w", err)
	}
	err = unix.Mount("shm", shm, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", shmSize))
	if err != nil {
		return fmt.Errorf("mount the Pod's /dev/shm: %w", err)
	}
	return nil
}

// writeFile makes a file that belongs to the root of the Pod.
func (p *pod) writeFile(name string, content []byte) error {
	f, err := os.OpenFile(filepath.Join(p.bundle, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return err
	}
	// Whatever the umask.
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if p.config.userNamespace {
		return f.Chown(hostID(p.config.uids), hostID(p.config.gids))
	}
	return nil
}

// hostID returns what root is on the host, or -1 if that is not mapped.
func hostID(mappings []specs.LinuxIDMapping) int {
	for _, m := range mappings {
		if m.ContainerID == 0 && m.Size > 0 {
			return int(m.HostID)
		}
	}
	return -1
}

func readHostFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("copy the host's file for the Pod: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPodFile+1))
	if err == nil && len(b) > maxPodFile {
		err = fmt.Errorf("it has more than %d bytes", maxPodFile)
	}
	if err != nil {
		return nil, fmt.Errorf("copy the host's %s for the Pod: %w", name, err)
	}
	return b, nil
}

// resolvConf is the content of resolv.conf(5).
func (d *podDNS) resolvConf() []byte {
	if d == nil {
		return nil
	}
	var b strings.Builder
	if len(d.searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.searches, " "))
	}
	for _, server := range d.servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(d.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.options, " "))
	}
	return []byte(b.String())
}

// unmountShm may be called again, and for a bundle that has none.
func unmountShm(bundle string) error {
	shm := filepath.Join(bundle, podShm)
	err := unix.Unmount(shm, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", shm, err)
	}
	return nil
}

// removeFiles undoes makeFiles.
func (p *pod) removeFiles() error {
	if err := unmountShm(p.bundle); err != nil {
		return err
	}
	for _, name := range []string{podShm, podHostname, podHosts, podResolvConf} {
		if err := os.Remove(filepath.Join(p.bundle, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the Pod's file: %w", err)
		}
	}
	return nil
}
