package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func TestKillOutrunsForks(t *testing.T) {
	for name, h := range hosts(t) {
		if name == "native" && !h.unified() && h.v2 != "" {
			h = &host{v1: h.v1} // the path without cgroup.kill
		}
		t.Run(name, func(t *testing.T) {
			c := mustCreate(t, h, testPath(t, h), nil)
			cmd, release := spawn(t, c, "fork")
			release()
			for deadline := time.Now().Add(10 * time.Second); ; {
				pids, err := c.Pids()
				if err != nil {
					t.Fatal(err)
				}
				if len(pids) > 10 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("only %v forked", pids)
				}
				time.Sleep(time.Millisecond)
			}
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if pids, err := c.Pids(); err != nil || len(pids) != 0 {
				t.Errorf("survivors: %v, %v", pids, err)
			}
		})
	}
}

func TestCgroupsBelowAreKilledAndDeleted(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			path := testPath(t, h)
			c := mustCreate(t, h, path, nil)
			inner := mustCreate(t, h, path+"/inner/most", nil)
			cmd, _ := spawn(t, inner, "idle")
			if pids, err := c.Pids(); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
				t.Errorf("Pids: %v, %v", pids, err)
			}
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if err := c.Delete(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestDeleteLeavesParentsOfOthers(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			path := testPath(t, h)
			parent := filepath.Dir(filepath.Dir(path))
			for _, m := range h.mounts() { // as kubelet makes its own
				if err := os.Mkdir(filepath.Join(m, parent), 0o755); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = os.Remove(filepath.Join(m, parent)) })
			}
			// Registered last and so cleaned up first.
			a := mustCreate(t, h, path, nil)
			b := mustCreate(t, h, path+"2", nil)
			pod := filepath.Dir(path)
			if err := a.Delete(); err != nil {
				t.Fatal(err)
			}
			exists := func(p string) int {
				n := 0
				for _, m := range h.mounts() {
					if _, err := os.Lstat(filepath.Join(m, p)); err == nil {
						n++
					}
				}
				return n
			}
			if n := exists(pod); n != len(h.mounts()) {
				t.Errorf("%s, which has another child, is left in %d of %d", pod, n, len(h.mounts()))
			}
			if err := b.Delete(); err != nil {
				t.Fatal(err)
			}
			if n := exists(pod); n != 0 {
				t.Errorf("%s, which was made for them, is left in %d", pod, n)
			}
			if n := exists(parent); n != len(h.mounts()) {
				t.Errorf("%s, which somebody else made, is left in %d of %d", parent, n, len(h.mounts()))
			}
		})
	}
}

func TestCreateReplacesLeftoversButNotTheLiving(t *testing.T) {
	h := limitedHost(t, "pids")
	path := testPath(t, h)
	n := int64(5)
	old := mustCreate(t, h, path, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &n}})
	c := mustCreate(t, h, path, nil)
	if limit := content(t, h, path, "pids/pids.max"); limit != "max" {
		t.Errorf("the limit of the leftover is still there: %q", limit)
	}
	cmd, _ := spawn(t, c, "idle")
	_, err := h.create(path, nil)
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Class != control.InvalidArgument || !strings.Contains(e.Message, "in use") {
		t.Errorf("Create over a running container: %v", err)
	}
	if pids, err := old.Pids(); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("the refused Create disturbed %v, %v", pids, err)
	}
}

func TestConcurrentContainersOfOneParent(t *testing.T) {
	h := hosts(t)["native"]
	path := testPath(t, h)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				c, err := h.create(path+strconv.Itoa(i), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.Delete(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkCreateDelete(b *testing.B) {
	h, err := discover()
	if err != nil || os.Geteuid() != 0 {
		b.Skip(err)
	}
	limit := int64(64 << 20)
	res := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, Pids: &specs.LinuxPids{Limit: ptr(int64(100))}}
	for b.Loop() {
		c, err := h.create("/shim-wasm-bench/app", res)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Delete(); err != nil {
			b.Fatal(err)
		}
	}
}
