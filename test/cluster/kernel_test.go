package cluster

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// podCgroup is the directory of a Pod's cgroup with that file in it, on either
// version of cgroups.
func podCgroup(t *testing.T, p *corev1.Pod, file string) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		for _, class := range []string{"kubepods", "kubepods/burstable", "kubepods/besteffort"} {
			found, _ := filepath.Glob(root + class + "/pod" + string(p.UID) + "/" + file)
			if len(found) > 0 {
				return filepath.Dir(found[0])
			}
		}
	}
	t.Fatalf("Pod %s has no cgroup with %s", p.Name, file)
	return ""
}

func podMemoryLimit(t *testing.T, p *corev1.Pod) int64 {
	t.Helper()
	return memoryLimit(t, podCgroup(t, p, "memory.*"))
}

// containerMemoryLimit is that of the cgroup of one of the Pod's containers.
func containerMemoryLimit(t *testing.T, p *corev1.Pod, container string) int64 {
	t.Helper()
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == container {
			return memoryLimit(t, filepath.Join(podCgroup(t, p, "memory.*"), strings.TrimPrefix(c.ContainerID, "containerd://")))
		}
	}
	t.Fatalf("Pod %s has no container %s", p.Name, container)
	return 0
}

func memoryLimit(t *testing.T, dir string) int64 {
	t.Helper()
	for _, file := range []string{"memory.limit_in_bytes", "memory.max"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Fatalf("%s has no limit of memory", dir)
	return 0
}

// processInfo is what /proc tells of a process.
type processInfo struct {
	name   string
	parent int
	cgroup string
	pss    int64 // bytes
}

// listProcesses returns all processes of the node by their pids. Those that end
// meanwhile are left out.
func listProcesses() (map[int]processInfo, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := map[int]processInfo{}
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		status, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue
		}
		var p processInfo
		for line := range strings.Lines(string(status)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			switch key {
			case "Name":
				p.name = value
			case "PPid":
				p.parent, _ = strconv.Atoi(value)
			}
		}
		cgroup, _ := os.ReadFile(dir + "/cgroup")
		p.cgroup = string(cgroup)
		rollup, _ := os.ReadFile(dir + "/smaps_rollup")
		for line := range strings.Lines(string(rollup)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
				kB, _ := strconv.ParseInt(f[1], 10, 64)
				p.pss = kB << 10
			}
		}
		all[pid] = p
	}
	return all, nil
}
