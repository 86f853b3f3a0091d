package task

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/wasmtest"
)

const firstUID, firstGID = 100000, 200000

// mapIDs puts a container into a user namespace, a new one without a path.
func mapIDs(s *specs.Spec, path string) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: path})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: firstUID, Size: 65536}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: firstGID, Size: 65536}}
}

// remap gives the bundle's root file system to the container's root.
func (d *daemon) remap(id string) {
	d.t.Helper()
	rootfs := filepath.Join(d.dir, id, "rootfs")
	err := filepath.WalkDir(rootfs, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, firstUID, firstGID)
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// podOfOthers is a process that holds the namespaces of a Pod in a user
// namespace, as its pause container does. It returns the directory of them.
func podOfOthers(t *testing.T) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ids := func(first int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: first, Size: 65536}} }
	cmd := exec.Command("cat")
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: ids(firstUID), GidMappings: ids(firstGID),
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() {
		w.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("/proc/%d/ns/", cmd.Process.Pid)
}

func TestContainersInUserNamespaces(t *testing.T) {
	pod := podOfOthers(t)
	volume := t.TempDir()
	if err := os.WriteFile(filepath.Join(volume, "secret"), []byte("of the volume"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		edit func(*specs.Spec)
	}{
		{"a new one", func(s *specs.Spec) { mapIDs(s, "") }},
		{"that of a Pod", func(s *specs.Spec) {
			s.Linux.Namespaces = []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
				{Type: specs.NetworkNamespace, Path: pod + "net"}, {Type: specs.IPCNamespace, Path: pod + "ipc"}, {Type: specs.UTSNamespace, Path: pod + "uts"},
			}
			mapIDs(s, pod+"user")
			s.Hostname = "pod"
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}
			s.Mounts = append(s.Mounts, specs.Mount{
				Destination: "/volume", Source: volume, Options: []string{"rbind", "rro"},
				UIDMappings: s.Linux.UIDMappings, GIDMappings: s.Linux.GIDMappings,
			})
		}},
		{"a new one and a time namespace", func(s *specs.Spec) {
			mapIDs(s, "")
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 3600}}
		}},
		{"none, but a time namespace", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		}},
	} {
		t.Run(test.name, func(t *testing.T) { liveThrough(t, test.edit) })
	}
}

// liveThrough takes a container through its life.
func liveThrough(t *testing.T, edit func(*specs.Spec)) {
	ctx := context.Background()
	d := newDaemon(t)
	own, volume := "", false
	d.bundle("a", spin(), func(s *specs.Spec) {
		edit(s)
		for _, ns := range s.Linux.Namespaces {
			if ns.Type == specs.UserNamespace {
				own = fmt.Sprint(firstUID)
			}
		}
		volume = len(s.Mounts) > 1
	})
	if err := os.WriteFile(filepath.Join(d.dir, "a", "rootfs", "exit.wasm"), wasmtest.Exit(9), 0o644); err != nil {
		t.Fatal(err)
	}
	if own != "" {
		d.remap("a")
	}
	s := d.start("a")
	created := s.mustCreate("a").Pid
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", created)); err != nil {
		t.Errorf("the pid of Create: %v", err)
	}
	s.mustStart("a")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", created))
	if err != nil || own != "" && !strings.Contains(string(status), "\nUid:\t"+own+"\t") {
		t.Errorf("status of the runner: %s, %v", status, err)
	}
	if status, _ := s.exec("e1", "/exit.wasm"); status != 9 {
		t.Errorf("a further process ends with %d", status)
	}
	if status, out := s.exec("e2", "cat", "/proc/self/uid_map"); status != 0 || own != "" && strings.Join(strings.Fields(out), " ") != "0 "+own+" 65536" {
		t.Errorf("a further process ends with %d and sees the mapping %q", status, out)
	}
	if status, out := s.exec("e4", "cat", "/volume/secret"); volume && (status != 0 || out != "of the volume") {
		t.Errorf("a further process ends with %d and sees %q in an id-mapped volume", status, out)
	}
	// The host is nowhere to be found: not by name, nor by way of any process.
	for i, path := range []string{d.dir + "/a/config.json", "/proc/1/root" + d.dir + "/a/config.json", "/proc/self/cwd/../../config.json"} {
		if status, out := s.exec(fmt.Sprint("host", i), "cat", path); status == 0 {
			t.Errorf("a further process reads %s: %s", path, out)
		}
	}
	if _, err := s.Exec(ctx, s.execRequest("e3", "/app.wasm")); err != nil {
		t.Fatal(err)
	}
	started, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: "e3"})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time"} {
		init, err1 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", created, kind))
		other, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", started.Pid, kind))
		if err1 != nil || err2 != nil || init != other {
			t.Errorf("a further process is in %s, the init in %s: %v, %v", other, init, err1, err2)
		}
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", started.Pid))
	if err != nil || len(fds) == 0 {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	for _, fd := range fds {
		if target, _ := os.Readlink(fd); target == "/proc" || strings.HasPrefix(target, d.dir+"/a/config") {
			t.Errorf("descriptor %s of a further process is %s", fd, target)
		}
	}
	if err := s.kill("a", unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := s.wait("a"); status != 143 {
		t.Errorf("exit status %d, want 143", status)
	}
	if _, err := s.delete("a"); err != nil {
		t.Error(err)
	}
	if children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.pid, s.pid)); err != nil || len(children) > 0 {
		t.Errorf("children that nobody reaped: %s, %v", children, err)
	}
}

func TestARootFileSystemOfOthersIsToldByCreate(t *testing.T) {
	d := newDaemon(t)
	d.bundle("a", spin(), func(s *specs.Spec) { mapIDs(s, "") })
	s := d.start("a")
	_, err := s.create("a")
	if err == nil || !strings.Contains(err.Error(), "does not map") {
		t.Errorf("create: %v", err)
	}
}
