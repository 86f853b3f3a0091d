package daemon

import (
	"os"
	"path/filepath"
	"syscall"
)

// HoldRunDirs keeps the directories that all shims of a machine share, in
// /run/containerd, until the returned function is called. A shim makes them and
// then its socket in them; between the two, whoever ends a daemon might find them
// empty and remove them.
func HoldRunDirs() (release func(), _ error) {
	// The lock is on /run itself, so that no file of it is left.
	run, err := os.Open("/run")
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(run.Fd()), syscall.LOCK_SH); err != nil {
		run.Close()
		return nil, err
	}
	return func() { run.Close() }, nil
}

// removeEmptyRunDirs removes what shims make in /run whatever the daemon's
// configuration says, unless others use it or hold it.
func removeEmptyRunDirs() {
	run, err := os.Open("/run")
	if err != nil {
		return
	}
	defer run.Close()
	if syscall.Flock(int(run.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return // whoever holds them removes them later
	}
	for _, dir := range []string{"s", "runc/" + CRINamespace, "runc", "fifo", ""} {
		_ = os.Remove(filepath.Join("/run/containerd", dir)) // fails when not empty
	}
}
