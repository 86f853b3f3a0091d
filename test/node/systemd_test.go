package node

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wasmshim/containerd-shim-wasm/test/provision"
)

// The installer, with no more than a Pod of the chart has, restarts containerd
// through a real systemd.
func TestSystemdRestartsContainerd(t *testing.T) {
	store, err := provision.Open(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Systemd(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, "plain", "2.4", "testdata/plain/before")
	before := m.files()
	hierarchy := "/sys/fs/cgroup/systemd"
	if _, err := os.Stat(hierarchy); err != nil {
		hierarchy = "/sys/fs/cgroup"
	}
	cgroup := filepath.Join(hierarchy, filepath.Base(m.root))

	cmd := exec.CommandContext(t.Context(), "/bin/sh", "testdata/systemd.sh", cgroup, m.root, os.Getenv("E2E_BIN"))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	m.must(err)
	m.must(cmd.Start())
	t.Cleanup(func() {
		// With pid 1 its whole namespace ends.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		removeCgroup(t, cgroup)
	})
	var said []string
	for lines := bufio.NewScanner(stdout); lines.Scan() && lines.Text() != "DONE"; {
		if !strings.HasPrefix(lines.Text(), "time=") { // its log
			said = append(said, lines.Text())
		}
	}
	t.Log(strings.Join(said, "\n"))
	want := []string{
		"wasm-node-installer: systemd runs none of no-such.service; name containerd's service with --unit (the node is as it was)",
		"same process", "installed: version ", "new process", "was there already: version ", "well: version ", "same process", "removed",
	}
	if len(said) != len(want) {
		t.Fatalf("%d lines, want %d", len(said), len(want))
	}
	for i := range want {
		if !strings.HasPrefix(said[i], want[i]) {
			t.Errorf("line %d is %q, want %q", i+1, said[i], want[i])
		}
	}
	if d := differ(before, m.files()); d != "" {
		t.Errorf("it leaves:\n%s", d)
	}
}

// removeCgroup removes a cgroup and those below it when their processes are gone.
func removeCgroup(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		var dirs []string
		_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		var err error
		for _, d := range slices.Backward(dirs) {
			err = errors.Join(err, os.Remove(d))
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Error(fmt.Errorf("the cgroup stays: %w", err))
			return
		}
		time.Sleep(20 * time.Millisecond) // cgroup v1 has no event
	}
}
