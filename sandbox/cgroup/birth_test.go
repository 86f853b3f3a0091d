package cgroup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// bear starts a child that comes into the cgroup by its birth. Reading from joined
// ends when it has done what is left to it.
func bear(t *testing.T, c *Cgroup) (cmd *exec.Cmd, joined io.Reader) {
	t.Helper()
	birth := c.Birth()
	if birth == nil {
		t.Fatal("there is no birth")
	}
	defer birth.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = []string{"CGROUP_TEST_ROLE=join"}
	cmd.ExtraFiles = append([]*os.File{w}, birth.Tasks()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	birth.Prepare(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); r.Close() })
	return cmd, r
}

// hostsWithV2 are those where there are births.
func hostsWithV2(t *testing.T) map[string]*host {
	t.Helper()
	all := hosts(t)
	maps.DeleteFunc(all, func(_ string, h *host) bool { return h.v2 == "" })
	return all
}

func TestAChildIsBornInTheCgroup(t *testing.T) {
	for name, h := range hostsWithV2(t) {
		t.Run(name, func(t *testing.T) {
			c := mustCreate(t, h, testPath(t, h), nil)
			cmd, joined := bear(t, c)
			if _, err := io.Copy(io.Discard, joined); err != nil {
				t.Fatal(err)
			}
			pid := cmd.Process.Pid
			if err := c.CheckHolds(pid); err != nil {
				t.Error(err)
			}
			for _, dir := range c.dirs() {
				b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
				if err != nil || string(b) != fmt.Sprintln(pid) {
					t.Errorf("%s has %q, %v, want %d alone", dir, b, err, pid)
				}
			}
		})
	}
}

// One whose parent is killed before it has been told to join.
func TestAChildThatHasNotJoinedIsKilledWithTheCgroup(t *testing.T) {
	for name, h := range hostsWithV2(t) {
		t.Run(name, func(t *testing.T) {
			c := mustCreate(t, h, testPath(t, h), nil)
			birth := c.Birth()
			defer birth.Close()
			cmd := exec.Command("sleep", "1000")
			cmd.SysProcAttr = &syscall.SysProcAttr{}
			birth.Prepare(cmd)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			if err := c.CheckHolds(cmd.Process.Pid); (err == nil) != h.unified() {
				t.Errorf("CheckHolds: %v", err)
			} else if err != nil && !strings.Contains(err.Error(), c.Path()) {
				t.Errorf("CheckHolds does not name the cgroup: %v", err)
			}
			if pids, err := c.Pids(); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
				t.Errorf("Pids: %v, %v", pids, err)
			}
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := c.CheckHolds(cmd.Process.Pid); !errdefs.IsNotFound(err) && !h.unified() {
				t.Errorf("CheckHolds of a zombie: %v", err)
			}
			if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Errorf("the child ended with %v", err)
			}
			if err := c.CheckHolds(cmd.Process.Pid); !errdefs.IsNotFound(err) {
				t.Errorf("CheckHolds of one that has ended: %v", err)
			}
		})
	}
}

// It is then in one hierarchy and not in the next.
func TestAChildThatIsFrozenWhileItJoinsIsKilledWithTheCgroupOnV1(t *testing.T) {
	h := v1Host(t, "freezer", "cpu")
	if h.v2 == "" {
		return // there are no births
	}
	c := mustCreate(t, h, testPath(t, h), nil)
	c.setFrozen(true)
	cmd, _ := bear(t, c)
	has := func(controller string) bool {
		b, err := os.ReadFile(filepath.Join(h.v1[controller], c.Path(), "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b) == fmt.Sprintln(cmd.Process.Pid)
	}
	for deadline := time.Now().Add(time.Minute); !has("freezer"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child does not join the freezer")
		}
	}
	if has("cpu") {
		t.Error("the frozen child has gone on")
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the child ended with %v", err)
	}
}

// Whom the freezer stops, or the processor is kept from, joins nothing more.
func TestTheFreezerAndTheProcessorAreJoinedLastOnV1(t *testing.T) {
	h := v1Host(t, "freezer", "cpu")
	c := mustCreate(t, h, testPath(t, h), nil)
	var got []string
	for _, dir := range c.inOrderOfJoining() {
		got = append(got, strings.TrimSuffix(dir, c.Path()))
	}
	if n := len(got); n < 2 || !slices.Equal(got[n-2:], []string{h.v1["freezer"], h.v1["cpu"]}) {
		t.Errorf("they are joined in the order %v", got)
	}
	want := slices.DeleteFunc(h.mounts(), func(mountpoint string) bool { return mountpoint == h.v2 })
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%v are joined, want %v", got, want)
	}
}

func TestAFailedBirthLeavesTheCgroupEmpty(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			c := mustCreate(t, h, testPath(t, h), nil)
			birth := c.Birth()
			defer birth.Close()
			cmd := exec.Command("/no/such/program")
			cmd.SysProcAttr = &syscall.SysProcAttr{}
			birth.Prepare(cmd)
			if err := cmd.Start(); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v", err)
			}
			if pids, err := c.Pids(); err != nil || len(pids) > 0 {
				t.Errorf("Pids: %v, %v", pids, err)
			}
		})
	}
}

func TestWithoutTheCgroupThereIsNoBirth(t *testing.T) {
	for name, h := range hosts(t) {
		gone := &Cgroup{host: h, target: target{path: "/no-such-cgroup"}}
		if birth := gone.Birth(); birth != nil {
			t.Errorf("%s: there is one", name)
			birth.Close()
		}
	}
}

// A child could come into the cgroup while it is deleted.
func TestWithoutV2BesideItThereIsNoBirthOnV1(t *testing.T) {
	h := v1Host(t, "pids")
	c := mustCreate(t, &host{v1: h.v1}, testPath(t, h), nil)
	if birth := c.Birth(); birth != nil {
		birth.Close()
		t.Error("there is one")
	}
}
