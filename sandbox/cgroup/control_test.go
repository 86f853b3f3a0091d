package cgroup

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

func TestFrozenProcessesStandStillUntilTheyAreThawed(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			c := mustCreate(t, h, testPath(t, h), nil)
			cmd, release := spawn(t, c, "exit")
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := c.Freeze(ctx); err != nil {
				t.Fatal(err)
			}
			release()
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			select {
			case <-done:
				t.Fatal("a frozen process ended by itself")
			case <-time.After(50 * time.Millisecond): // nothing can be waited for
			}
			if err := c.Thaw(); err != nil {
				t.Fatal(err)
			}
			<-done
		})
	}
}

func TestFreezingADeletedCgroup(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			c := mustCreate(t, h, testPath(t, h), nil)
			if err := c.Delete(); err != nil {
				t.Fatal(err)
			}
			if err := c.Freeze(context.Background()); !errdefs.IsNotFound(err) {
				t.Errorf("freeze: %v", err)
			}
			if err := c.Thaw(); !errdefs.IsNotFound(err) {
				t.Errorf("thaw: %v", err)
			}
			if err := c.Update(&specs.LinuxResources{}); !errdefs.IsNotFound(err) {
				t.Errorf("update: %v", err)
			}
			if n, err := c.OOMKills(); n != 0 || err != nil {
				t.Errorf("OOM kills: %d, %v", n, err)
			}
		})
	}
}

// Their shim may have died with them frozen.
func TestKillEndsFrozenProcesses(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			c := mustCreate(t, h, testPath(t, h), nil)
			cmd, _ := spawn(t, c, "exit") // as soon as it is released, which it is not
			if err := c.Freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
			reaped := make(chan error, 1)
			go func() { reaped <- cmd.Wait() }()
			if err := c.Kill(); err != nil {
				t.Error(err)
				_ = c.Thaw()
			}
			<-reaped
		})
	}
}

func TestOOMKillsAreCountedWhenTheExitIsSeen(t *testing.T) {
	h := limitedHost(t, "memory")
	c := mustCreate(t, h, testPath(t, h), &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](32 << 20), Swap: ptr[int64](32 << 20)}})
	if n, err := c.OOMKills(); n != 0 || err != nil {
		t.Fatalf("%d, %v before", n, err)
	}
	cmd, release := spawn(t, c, "eat")
	release()
	_ = cmd.Wait()
	if n, err := c.OOMKills(); n != 1 || err != nil {
		t.Errorf("%d, %v after the kill", n, err)
	}
}

func TestUpdateChangesWhatIsSetAndNothingElse(t *testing.T) {
	h := limitedHost(t, "memory", "pids", "cpu")
	memory := func(limit, swap int64) *specs.LinuxResources {
		return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &swap}}
	}
	res := memory(64<<20, 64<<20)
	res.Pids = &specs.LinuxPids{Limit: ptr[int64](50)}
	path := testPath(t, h)
	c := mustCreate(t, h, path, res)
	limit, shares, weight := "memory/memory.limit_in_bytes", "cpu/cpu.shares", "512"
	if h.unified() {
		limit, shares, weight = "memory/memory.max", "cpu/cpu.weight", "59"
	}
	for _, step := range []struct {
		name string
		res  *specs.LinuxResources
		want map[string]string
	}{
		{"raise both", memory(128<<20, 128<<20), map[string]string{limit: "134217728", "pids/pids.max": "50"}},
		{"lower both", memory(32<<20, 32<<20), map[string]string{limit: "33554432"}},
		{"cpu", &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr[uint64](512)}}, map[string]string{shares: weight, limit: "33554432"}},
		{"pids", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](70)}}, map[string]string{"pids/pids.max": "70"}},
	} {
		if err := c.Update(step.res); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for file, want := range step.want {
			if got := content(t, h, path, file); got != want {
				t.Errorf("%s: %s is %s, want %s", step.name, file, got, want)
			}
		}
	}
	cmd, release := spawn(t, c, "hold")
	release()
	usage := "memory/memory.usage_in_bytes"
	if h.unified() {
		usage = "memory/memory.current"
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if n, err := strconv.Atoi(content(t, h, path, usage)); err == nil && n > 16<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the process uses %s bytes", content(t, h, path, usage))
		}
	}
	res = memory(8<<20, 8<<20)
	res.Memory.CheckBeforeUpdate = ptr(true)
	err := c.Update(res)
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Class != control.InvalidArgument || !strings.Contains(e.Message, "linux.resources.memory.limit") {
		t.Errorf("a limit below the usage: %v", err)
	}
	if got := content(t, h, path, limit); got != "33554432" {
		t.Errorf("the refused limit is in force: %s", got)
	}
	if err := cmd.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the process suffered: %v", err)
	}
	err = c.Update(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}})
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Class != control.InvalidArgument {
		t.Errorf("devices: %v", err)
	}
}
