package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/osthread"
)

// bear starts a guinea pig by Start and returns what Start does.
func bear(c *Cgroup, cmd *exec.Cmd, start func() error) (born, clean bool, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	osthread.Run(func() bool {
		born, clean, err = c.Start(cmd, start)
		return clean
	})
	return born, clean, err
}

func TestAChildIsBornInEveryHierarchy(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			path := testPath(t, h)
			c := mustCreate(t, h, path, nil)
			cmd := exec.Command("sleep", "1000")
			born, clean, err := bear(c, cmd, cmd.Start)
			if err != nil || !born || !clean {
				t.Fatalf("born %v, clean %v, %v", born, clean, err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", cmd.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(b), ":"+path+"\n"); n != len(h.mounts()) {
				t.Errorf("in %d of %d hierarchies:\n%s", n, len(h.mounts()), b)
			}
			if pids, err := c.Pids(); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
				t.Errorf("Pids: %v, %v; want %d", pids, err, cmd.Process.Pid)
			}
			nobodyElse(t, path)
		})
	}
}

// nobodyElse fails for a thread of this process in the cgroup.
func nobodyElse(t *testing.T, path string) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		b, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/cgroup")
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
		if strings.Contains(string(b), path) {
			t.Errorf("thread %s is left in the cgroup:\n%s", thread.Name(), b)
		}
	}
}

func TestAFailedBirthLeavesNobodyInTheCgroup(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			path := testPath(t, h)
			c := mustCreate(t, h, path, nil)
			for range 20 {
				cmd := exec.Command("/no/such/program")
				if _, clean, err := bear(c, cmd, cmd.Start); !clean || !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("clean %v, %v", clean, err)
				}
			}
			nobodyElse(t, path)
			if pids, err := c.Pids(); err != nil || len(pids) > 0 {
				t.Errorf("Pids: %v, %v", pids, err)
			}
		})
	}
}

func TestWhereNoChildCanBeBornItIsStartedOutside(t *testing.T) {
	h := limitedHost(t, "pids")
	c := mustCreate(t, h, testPath(t, h), &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(1))}})
	gone := &Cgroup{host: h, target: target{path: "/no-such-cgroup"}}
	for name, c := range map[string]*Cgroup{"a narrow limit": c, "no such cgroup": gone} {
		cmd := exec.Command("true")
		born, clean, err := bear(c, cmd, cmd.Run)
		if born || !clean || err != nil {
			t.Errorf("%s: born %v, clean %v, %v", name, born, clean, err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	h, err := discover()
	if err != nil {
		b.Skip(err)
	}
	c, err := h.create(fmt.Sprintf("/shim-wasm-bench-%d", os.Getpid()), nil)
	if err != nil {
		b.Skip(err)
	}
	defer func() { _ = c.Delete() }()
	b.Run("born", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.Command("true")
			if born, _, err := bear(c, cmd, cmd.Start); !born || err != nil {
				b.Fatal(err)
			}
			_ = cmd.Wait()
		}
	})
	b.Run("added", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.Command("cat")
			in, _ := cmd.StdinPipe()
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			if err := c.Add(cmd.Process.Pid); err != nil {
				b.Fatal(err)
			}
			in.Close()
			_ = cmd.Wait()
		}
	})
}
