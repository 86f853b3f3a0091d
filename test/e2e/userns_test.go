package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mapping is what `ctr run` takes for the user namespace of a container, whose
// root file system containerd then gives to those ids.
func mapping(flags ...string) []string {
	return append([]string{"--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"}, flags...)
}

func TestContainerInAUserNamespace(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		// Id-mapped mounts are not asked for here: containerd refuses them unless
		// runc has them, too.
		theirs := filepath.Join(h.Dir, "work", "theirs")
		if err := os.Mkdir(theirs, 0o700); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(theirs)
		if err := os.Chown(theirs, 100000, 200000); err != nil {
			t.Fatal(err)
		}
		id := h.NewID("userns")
		args := append([]string{"run", "-d", "--null-io", "--runtime", wasm}, mapping(
			"--mount", "type=bind,src="+theirs+",dst=/theirs,options=rbind:rw")...)
		want(t, h.Ctr(t.Context(), append(args, h.image(t, "probe-c"), id, "/probe-c.wasm", "sleep", "600")...), 0, "", "")
		run := func(name string, args ...string) []string {
			return append([]string{"tasks", "exec", "--fifo-dir", filepath.Join(h.Dir, "fifo"), "--exec-id", name, id}, args...)
		}
		for name, path := range map[string]string{"image": "/made", "theirs": "/theirs/made"} {
			want(t, h.Ctr(t.Context(), run(name, "/probe-c.wasm", "put", path, "text")...), 0, "", "")
		}
		root := fmt.Sprintf("/proc/%d/root", h.taskPid(t, id))
		for _, path := range []string{root + "/made", theirs + "/made"} {
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil || st.Uid != 100000 || st.Gid != 200000 {
				t.Errorf("%s belongs to %d:%d: %v", path, st.Uid, st.Gid, err)
			}
		}
		got := h.Ctr(t.Context(), run("map", "cat", "/proc/self/uid_map")...)
		if strings.Join(strings.Fields(got.Stdout), " ") != "0 100000 65536" {
			t.Errorf("the mapping in an exec: %+v", got)
		}
		want(t, h.Ctr(t.Context(), "tasks", "kill", "-s", "SIGTERM", id), 0, "", "")
		within(t, "the guest ends", func() bool { return h.taskStatus(t, id) == "STOPPED" })
		if got := h.Ctr(t.Context(), "tasks", "rm", id); !strings.Contains(got.Stderr, "exit code 143") {
			t.Errorf("tasks rm: %+v", got)
		}
		want(t, h.Ctr(t.Context(), "containers", "rm", id), 0, "", "")
	})
}

// A snapshotter that can leaves the image's files as they are and asks for
// id-mapped layers.
func TestUserNamespaceOnAnIDMappedRootFileSystem(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		if strings.Contains(t.Name(), "/1.") {
			t.Skip("containerd before 2.0 has no id-mapped layers")
		}
		id := h.NewID("idmapped")
		args := append([]string{"run", "-d", "--null-io", "--runtime", wasm}, mapping("--remap-labels")...)
		want(t, h.Ctr(t.Context(), append(args, h.image(t, "probe-c"), id, "/probe-c.wasm", "sleep", "600")...), 0, "", "")
		pid := h.taskPid(t, id)
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/root/probe-c.wasm", pid), &st); err != nil || st.Uid != 100000 || st.Gid != 200000 {
			t.Errorf("a file of the image belongs to %d:%d: %v", st.Uid, st.Gid, err)
		}
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if first, _, _ := strings.Cut(string(mounts), "\n"); err != nil || !strings.Contains(first, " overlay ") || !strings.Contains(first, "idmapped") {
			t.Errorf("the root file system is %s, %v", first, err)
		}
		h.Ctr(t.Context(), "tasks", "rm", "-f", id)
		want(t, h.Ctr(t.Context(), "containers", "rm", id), 0, "", "")
	})
}

// As CRI starts the containers of a Pod with hostUsers: false, after a pause
// container of runc.
func TestContainerJoinsThePodsUserNamespace(t *testing.T) {
	onEachDaemon(t, func(t *testing.T, h *host) {
		pod := exec.Command("sleep", "600")
		ids := func(first int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: first, Size: 65536}} }
		pod.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
			UidMappings: ids(100000), GidMappings: ids(200000), GidMappingsEnableSetgroups: true,
		}
		if err := pod.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = pod.Process.Kill()
			_ = pod.Wait()
		}()
		flags := mapping()
		for kind, file := range map[string]string{"user": "user", "network": "net", "ipc": "ipc", "uts": "uts"} {
			flags = append(flags, "--with-ns", fmt.Sprintf("%s:/proc/%d/ns/%s", kind, pod.Process.Pid, file))
		}
		got := h.run(t, ctrRun{image: "probe-c", flags: flags, args: []string{"/probe-c.wasm", "read", "/proc/self/uid_map"}})
		if got.Code != 0 || strings.Join(strings.Fields(got.Stdout), " ") != "0 100000 65536" {
			t.Errorf("in the Pod's namespaces: %+v", got)
		}
	})
}
