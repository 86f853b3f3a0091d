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
)

// bear starts a process by Start and returns what Start does.
func bear(c *Cgroup, cmd *exec.Cmd) (born bool, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	return c.Start(cmd, cmd.Start)
}

func TestAChildIsBornWhereCgroupsAreV2(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			path := testPath(t, h)
			c := mustCreate(t, h, path, nil)
			cmd := exec.Command("sleep", "1000")
			born, err := bear(c, cmd)
			if err != nil || born != h.unified() {
				t.Fatalf("born %v, %v", born, err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", cmd.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), ":"+path+"\n") != born {
				t.Errorf("born %v, but it is in\n%s", born, b)
			}
			if pids, err := c.Pids(); err != nil || slices.Equal(pids, []int{cmd.Process.Pid}) != born {
				t.Errorf("born %v, but Pids: %v, %v", born, pids, err)
			}
		})
	}
}

func TestAFailedBirthLeavesTheCgroupEmpty(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			c := mustCreate(t, h, testPath(t, h), nil)
			if _, err := bear(c, exec.Command("/no/such/program")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v", err)
			}
			if pids, err := c.Pids(); err != nil || len(pids) > 0 {
				t.Errorf("Pids: %v, %v", pids, err)
			}
		})
	}
}

func TestWithoutTheCgroupNoChildIsBorn(t *testing.T) {
	for name, h := range hosts(t) {
		gone := &Cgroup{host: h, target: target{path: "/no-such-cgroup"}}
		cmd := exec.Command("true")
		born, err := bear(gone, cmd)
		if born || err != nil {
			t.Errorf("%s: born %v, %v", name, born, err)
		}
		_ = cmd.Wait()
	}
}
