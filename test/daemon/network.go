package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bridgeOf is the name of the bridge to which the Pods of the daemon with that
// directory are connected. It has no address: Pods reach each other and nothing
// else, and the host's own settings stay as they are.
func bridgeOf(dir string) string {
	id := strings.TrimPrefix(filepath.Base(dir), dirPrefix)
	return "cdw" + id[max(0, len(id)-10):]
}

// writeNetwork configures the network of Pods, for the plugins of
// Programs.Network.
func (d *Daemon) writeNetwork() error {
	if err := os.Mkdir(d.path("cni"), 0o700); err != nil {
		return err
	}
	return os.WriteFile(d.path("cni", "pods.conflist"), fmt.Appendf(nil, `{
  "cniVersion": "1.0.0",
  "name": %[1]q,
  "plugins": [{
    "type": "bridge",
    "bridge": %[1]q,
    "ipam": {"type": "host-local", "dataDir": %[2]q, "ranges": [[{"subnet": "10.213.0.0/16"}]]}
  }]
}
`, bridgeOf(d.Dir), d.path("cni-addresses")), 0o600)
}

// removeBridge removes the bridge, if the plugins have made it.
func removeBridge(dir string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	down, err := unix.NewIfreq(bridgeOf(dir))
	if err != nil {
		return err
	}
	// It has to be down.
	err = unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, down)
	if err == nil {
		var name [unix.IFNAMSIZ]byte
		copy(name[:], bridgeOf(dir))
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCBRDELBR, uintptr(unsafe.Pointer(&name))); errno != 0 {
			err = errno
		}
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove bridge %s: %w", bridgeOf(dir), err)
	}
	return nil
}
