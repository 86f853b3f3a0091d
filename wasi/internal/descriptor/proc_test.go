package descriptor

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProcHidesTheRunner opens what a guest could read or change its host
// through, by every road there is.
func TestProcHidesTheRunner(t *testing.T) {
	pid := fmt.Sprint(os.Getpid())
	for _, root := range []string{"/", "/proc"} {
		for _, walking := range []bool{false, true} {
			table, d := mount(t, root, true, walking)
			proc := "proc/"
			if root == "/proc" {
				proc = ""
			}
			self, _, e := table.Open(d, path(t, proc+"self"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if e != 0 {
				t.Fatal(e)
			}
			task, _, e := table.Open(d, path(t, proc+pid+"/task/"+pid), unix.O_RDONLY, 0)
			if e != 0 {
				t.Fatal(e)
			}
			link := t.TempDir() + "/link"
			symlink(t, "/proc/self/maps", link)
			type road struct {
				at   *Descriptor
				name string
			}
			roads := []road{
				{d, proc + "kcore"}, {d, proc + "kmsg"}, {self, "fd/."}, {self, "fd/"}, {self, "task/../mem"}, {self, "./mem"},
				{self, "fd/0"}, {self, "fdinfo/0"}, {self, "exe"}, {self, "root"}, {self, "cwd"}, {self, "root/etc/passwd"}, {self, "ns/net"},
				{self, "task/" + pid + "/mem"}, {d, proc + "self/task/" + pid + "/maps"},
			}
			if root == "/" {
				roads = append(roads, road{d, link[1:]})
			}
			for _, name := range []string{"mem", "maps", "smaps", "smaps_rollup", "numa_maps", "pagemap", "auxv", "stack", "syscall", "clear_refs", "fd", "fdinfo", "map_files", "ns"} {
				roads = append(roads, road{self, name}, road{task, name}, road{d, proc + "self/" + name}, road{d, proc + pid + "/" + name})
			}
			for _, r := range roads {
				for _, flags := range []int{unix.O_RDONLY, unix.O_RDONLY | unix.O_DIRECTORY} {
					if _, _, e := table.Open(r.at, path(t, r.name), flags, 0); e == 0 {
						t.Errorf("from %s: %s can be opened", root, r.name)
					}
				}
				if _, _, e := table.Open(r.at, path(t, r.name), unix.O_RDWR, 0); e == 0 {
					t.Errorf("from %s: %s can be opened for writing", root, r.name)
				}
			}
			for _, name := range []string{"comm", "oom_score_adj", "timerslack_ns", "coredump_filter", "attr/current"} {
				for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC, unix.O_WRONLY | unix.O_CREAT} {
					if _, _, e := table.Open(self, path(t, name), flags, 0o666); e != unix.EACCES {
						t.Errorf("from %s: opening %s with %#x: %v", root, name, flags, e)
					}
				}
			}
			for _, r := range []road{{self, "status"}, {self, "comm"}, {d, proc + "meminfo"}, {d, proc + "mounts"}, {d, proc + "self/mountinfo"}, {d, proc + "sys/kernel/ostype"}} {
				if got, e := read(t, table, r.at, r.name); e != 0 || got == "" {
					t.Errorf("from %s: reading %s: %q, %v", root, r.name, got, e)
				}
			}
		}
	}
}
