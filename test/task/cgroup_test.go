package task

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/test/usage"
)

// cgroupProcs are the files of a container's cgroup that list its processes, in all
// hierarchies.
func (d *daemon) cgroupProcs(id string) []string {
	d.t.Helper()
	pattern := filepath.Join(usage.Root, "*", d.cgroup(), id, "cgroup.procs")
	if usage.Unified() {
		pattern = strings.Replace(pattern, "/*", "", 1)
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		d.t.Fatalf("%s: %q, %v", pattern, files, err)
	}
	return files
}

// assertInCgroup checks that the cgroup has these processes alone, in all hierarchies,
// and each of them with all threads.
func (d *daemon) assertInCgroup(id string, pids ...uint32) {
	d.t.Helper()
	slices.Sort(pids)
	for _, file := range d.cgroupProcs(id) {
		b, err := os.ReadFile(file)
		if err != nil {
			d.t.Fatal(err)
		}
		got := strings.Fields(string(b))
		slices.Sort(got)
		want := strings.Fields(strings.Trim(fmt.Sprint(pids), "[]"))
		slices.Sort(want)
		if !slices.Equal(got, want) {
			d.t.Errorf("%s has %v, want %v", file, got, want)
		}
	}
	for _, pid := range pids {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/cgroup", pid))
		if err != nil || len(threads) == 0 {
			d.t.Fatalf("threads of %d: %v, %v", pid, threads, err)
		}
		for _, thread := range threads {
			b, err := os.ReadFile(thread)
			if err != nil {
				d.t.Fatal(err)
			}
			for line := range strings.Lines(string(b)) {
				if !strings.HasSuffix(line, d.cgroup()+"/"+id+"\n") {
					d.t.Errorf("%s has %s", thread, line)
				}
			}
		}
	}
}

func TestEveryProcessOfAContainerIsInItsCgroupAlone(t *testing.T) {
	for _, test := range []struct {
		name   string
		remaps bool
		edit   func(*specs.Spec)
	}{
		{"a plain container", false, func(*specs.Spec) {}},
		{"in a user namespace", true, func(s *specs.Spec) { mapIDs(s, "") }},
		{"in a cgroup namespace and with the smallest share", false, func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
			share := uint64(2)
			s.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &share}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := context.Background()
			d := newDaemon(t)
			d.bundle("a", spin(), test.edit)
			if test.remaps {
				d.remap("a")
			}
			s := d.start("a")
			init := s.mustCreate("a").Pid
			d.assertInCgroup("a", init)
			s.mustStart("a")
			if _, err := s.Exec(ctx, s.execRequest("e", "/app.wasm")); err != nil {
				t.Fatal(err)
			}
			started, err := s.Start(ctx, &taskapi.StartRequest{ID: "a", ExecID: "e"})
			if err != nil {
				t.Fatal(err)
			}
			d.assertInCgroup("a", init, started.Pid)
			s.finish("a", 137)
		})
	}
}

// A runner that was forgotten at an update is told to join the cgroup by itself and
// knows nothing of it: here the configuration has lost that word on its way.
func TestARunnerThatDoesNotJoinTheCgroupRunsNoGuestOnV1(t *testing.T) {
	if usage.Unified() {
		t.Skip("the controllers are those of cgroup v2")
	}
	d := newDaemon(t)
	bin := t.TempDir()
	for name, as := range map[string]string{"containerd-shim-wasm-v1": "containerd-shim-wasm-v1", "wasm-runner": "runner"} {
		b, err := os.ReadFile(filepath.Join(os.Getenv("E2E_BIN"), name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, as), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := strings.ReplaceAll(`#!/bin/sh
config=$(sed 's/"tasks":[0-9]*,//' <&3)
exec RUNNER "$@" 3<<EOF 5<RUNNER
$config
EOF
`, "RUNNER", filepath.Join(bin, "runner"))
	if err := os.WriteFile(filepath.Join(bin, "wasm-runner"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("E2E_BIN", bin)
	d.bundle("a", spin(), nil)
	s := d.start("a")
	_, err := s.create("a")
	if err == nil || !strings.Contains(err.Error(), "not in "+d.cgroup()+"/a; is wasm-runner of the version of this shim?") {
		t.Errorf("create: %v", err)
	}
}
