package node

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ownMounts marks a process that has a mount namespace of its own.
const ownMounts = "WASMCTL_OWN_MOUNTS"

// makeMountsPrivate begins this program again in a mount namespace of its own,
// unless it is in one. So nobody sees the file systems of images, and they go with
// the process, even if that is killed. It returns in the second process only: a
// namespace belongs to a thread, and execve makes that the only one.
func makeMountsPrivate() error {
	if os.Getenv(ownMounts) != "" {
		return os.Unsetenv(ownMounts)
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w; run as root", err)
	}
	// What containerd mounts later shall still come.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	err := unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), ownMounts+"=1"))
	return fmt.Errorf("execute %s again: %w", os.Args[0], err)
}
