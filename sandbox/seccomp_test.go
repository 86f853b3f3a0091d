package sandbox

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wasmshim/containerd-shim-wasm/internal/control"
)

// withProfile is the spec of `ctr run` with a seccomp profile.
func withProfile(p *specs.LinuxSeccomp) *specs.Spec {
	return with(func(s *specs.Spec) { s.Linux.Seccomp = p })
}

// containerdProfile is what a container gets whose Pod asks for RuntimeDefault.
func containerdProfile(t testing.TB) *specs.LinuxSeccomp {
	t.Helper()
	b, err := os.ReadFile("testdata/containerd-seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	p := new(specs.LinuxSeccomp)
	if err := json.Unmarshal(b, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// deny is a profile that allows everything but a few calls.
func deny(action specs.LinuxSeccompAction, names ...string) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Syscalls:      []specs.LinuxSyscall{{Names: names, Action: action}},
	}
}

func TestProgramRunsUnderContainerdsDefaultProfile(t *testing.T) {
	for name, user := range map[string]specs.User{"root": {}, "user": {UID: 1000, GID: 1000}} {
		for _, noNewPrivileges := range []bool{true, false} {
			spec := with(func(s *specs.Spec) {
				s.Process.User = user
				s.Process.NoNewPrivileges = noNewPrivileges
				s.Linux.Seccomp = containerdProfile(t)
			})
			v := mustRun(t, spec, wish{
				Read: []string{"/proc/self/comm"}, Write: []string{"/run/x"},
				Calls: []string{"keyctl", "getpriority", "personality 0xffffffff", "personality 4", "unshare", "10000", "x32"},
			})
			if v.Status["Seccomp"] != "2" || v.Status["Seccomp_filters"] != "1" {
				t.Errorf("%s: seccomp mode %s with %s filters", name, v.Status["Seccomp"], v.Status["Seccomp_filters"])
			}
			if want := map[bool]string{true: "1", false: "0"}[noNewPrivileges]; v.Status["NoNewPrivs"] != want {
				t.Errorf("%s: NoNewPrivs is %s, want %s", name, v.Status["NoNewPrivs"], want)
			}
			caps := "00000000a80425fb"
			if user.UID != 0 {
				caps = "0000000000000000"
			}
			if got := v.Status["CapEff"]; got != caps {
				t.Errorf("%s: CapEff is %s, want %s", name, got, caps)
			}
			for call, want := range map[string]string{
				"keyctl": "EPERM", "getpriority": "ok", "personality 0xffffffff": "ok", "personality 4": "EPERM",
				"unshare": "EPERM", "10000": "ENOSYS", "x32": "ENOSYS",
			} {
				if got := v.Tried["call "+call]; got != want {
					t.Errorf("%s: %s gives %s, want %s", name, call, got, want)
				}
			}
		}
	}
}

func TestProgramIsRefusedAndKilledAsItsProfileSays(t *testing.T) {
	code := uint(syscall.ENOTTY)
	refused := deny(specs.ActErrno, "getpriority")
	refused.Syscalls[0].ErrnoRet = &code
	v := mustRun(t, withProfile(refused), wish{Calls: []string{"getpriority", "10000"}})
	if got := v.Tried["call getpriority"]; got != "ENOTTY" {
		t.Errorf("getpriority gives %s, want ENOTTY", got)
	}
	if got := v.Tried["call 10000"]; got != "ENOSYS" {
		t.Errorf("a call that does not exist gives %s", got)
	}
	calls := map[string]*specs.LinuxSeccomp{"getpriority": deny(specs.ActKillProcess, "getpriority")}
	if runtime.GOARCH == "amd64" {
		// By an ABI that the profile does not name.
		calls["x32"] = deny(specs.ActErrno, "getpriority")
	}
	for call, profile := range calls {
		_, err := (&sandboxTest{wish: wish{Calls: []string{call}}}).run(t, withProfile(profile))
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
			t.Errorf("%s: the program ends with %v, not by SIGSYS", call, err)
		}
	}
}

// What Kubernetes calls Unconfined is no profile, and what says nothing is none
// either.
func TestNoProfileIsNoFilter(t *testing.T) {
	for _, p := range []*specs.LinuxSeccomp{nil, {}} {
		if v := mustRun(t, withProfile(p), wish{}); v.Status["Seccomp"] != "0" {
			t.Errorf("%+v gives seccomp mode %s", p, v.Status["Seccomp"])
		}
	}
}

func TestFlagsOfAProfileReachTheKernel(t *testing.T) {
	p := deny(specs.ActErrno, "getpriority")
	p.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, "SECCOMP_FILTER_FLAG_TSYNC"}
	if v := mustRun(t, withProfile(p), wish{Calls: []string{"getpriority"}}); v.Tried["call getpriority"] != "EPERM" {
		t.Errorf("getpriority gives %s", v.Tried["call getpriority"])
	}
}

// Filters are inherited and not entered, so that a process that is executed in a
// container needs its own.
func TestAFurtherProcessTakesTheProfileOfItsContainer(t *testing.T) {
	c, err := FromProcess(ctrSpec().Process, nil, nil, []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ApplySeccomp(containerdProfile(t)); err != nil || c.Seccomp == nil {
		t.Errorf("no filter: %v", err)
	}
	wantRefusal(t, c.ApplySeccomp(deny(specs.ActErrno, "execveat")), control.InvalidArgument, "linux.seccomp does not allow execveat")
}

func TestFeaturesAreThoseOfThisProcessor(t *testing.T) {
	f := SeccompFeatures()
	if !*f.Enabled || len(f.Archs) < 2 || slices.Contains(f.Actions, string(specs.ActNotify)) {
		t.Errorf("advertised is %+v", f)
	}
}
