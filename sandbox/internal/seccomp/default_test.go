package seccomp

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	profiles "github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// containerdProfile is what a container gets whose Pod asks for RuntimeDefault.
func containerdProfile() *specs.LinuxSeccomp {
	return profiles.DefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
}

// The tests of package sandbox cannot import the profile: with it comes package
// net, and their binary has to be linked statically.
func TestSandboxIsTestedWithContainerdsProfile(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the file is what containerd has for amd64")
	}
	const file = "../../testdata/containerd-seccomp.json"
	want, err := json.MarshalIndent(containerdProfile(), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not the profile of the containerd in go.mod; run this test with -update", file)
	}
}

var update = flag.Bool("update", false, "write the files that the tests compare with")

func TestContainerdsDefaultProfile(t *testing.T) {
	p, err := Parse(containerdProfile(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	program := decode(f.Program)
	native := p.abis[0]
	most := 0
	for _, test := range []struct {
		name string
		args [6]uint64
		want uint32
	}{
		{"read", [6]uint64{}, unix.SECCOMP_RET_ALLOW},
		{"execveat", [6]uint64{5}, unix.SECCOMP_RET_ALLOW},
		{"clone", [6]uint64{0x50f00}, unix.SECCOMP_RET_ALLOW},
		{"clone", [6]uint64{unix.CLONE_NEWUSER}, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{"clone3", [6]uint64{}, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{"socket", [6]uint64{unix.AF_INET}, unix.SECCOMP_RET_ALLOW},
		{"socket", [6]uint64{unix.AF_VSOCK}, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{"mount", [6]uint64{}, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{"keyctl", [6]uint64{}, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{"personality", [6]uint64{0xffffffff}, unix.SECCOMP_RET_ALLOW},
		{"personality", [6]uint64{4}, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		// Newer than the profile.
		{"", [6]uint64{}, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
	} {
		number := uint32(10000)
		if test.name != "" {
			number, _ = native.numbers.find(test.name)
		}
		c := &call{number: number, audit: native.audit, args: test.args}
		got, steps, err := interpret(program, c)
		if err != nil || got != test.want {
			t.Errorf("%s with %#x gives %#x and %v, want %#x", test.name, test.args, got, err, test.want)
		}
		if test.name == "read" || test.name == "execveat" {
			most = max(most, steps)
			// The kernel has a bitmap of what it need not ask the filter about.
			if c.looked {
				t.Errorf("%s is allowed by more than its number", test.name)
			}
		}
	}
	// The logarithm of the number of ranges, and not the number of rules.
	if most > 20 {
		t.Errorf("%d instructions are run for a call without conditions", most)
	}
	t.Logf("%d instructions, at most %d for an ordinary call", len(program), most)
}

func TestRefusedProfiles(t *testing.T) {
	code, large := uint(1), uint(4096)
	rule := func(change func(*specs.LinuxSyscall)) func(*specs.LinuxSeccomp) {
		return func(s *specs.LinuxSeccomp) {
			r := specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno}
			change(&r)
			s.Syscalls = []specs.LinuxSyscall{r}
		}
	}
	arg := func(a specs.LinuxSeccompArg) func(*specs.LinuxSeccomp) {
		return rule(func(r *specs.LinuxSyscall) { r.Args = []specs.LinuxSeccompArg{a} })
	}
	for _, test := range []struct {
		field  string
		change func(*specs.LinuxSeccomp)
	}{
		{"defaultAction", func(s *specs.LinuxSeccomp) { s.DefaultAction = "" }},
		{"defaultAction", func(s *specs.LinuxSeccomp) { s.DefaultAction = "ALLOW" }},
		{"defaultAction is SCMP_ACT_NOTIFY", func(s *specs.LinuxSeccomp) { s.DefaultAction = specs.ActNotify }},
		{"defaultErrnoRet", func(s *specs.LinuxSeccomp) { s.DefaultErrnoRet = &code }},
		{"defaultErrnoRet", func(s *specs.LinuxSeccomp) { s.DefaultAction, s.DefaultErrnoRet = specs.ActErrno, &large }},
		{"architectures[0]", func(s *specs.LinuxSeccomp) { s.Architectures = []specs.Arch{"x86"} }},
		{"flags[0]", func(s *specs.LinuxSeccomp) { s.Flags = []specs.LinuxSeccompFlag{"LOG"} }},
		{"flags[0]", func(s *specs.LinuxSeccomp) {
			s.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}
		}},
		{"listenerPath", func(s *specs.LinuxSeccomp) { s.ListenerPath = "/run/agent.sock" }},
		{"listenerMetadata", func(s *specs.LinuxSeccomp) { s.ListenerMetadata = "x" }},
		{"syscalls[0].names", rule(func(r *specs.LinuxSyscall) { r.Names = nil })},
		{"syscalls[0].names[1]", rule(func(r *specs.LinuxSyscall) { r.Names = []string{"read", ""} })},
		{"syscalls[0].action", rule(func(r *specs.LinuxSyscall) { r.Action = "DENY" })},
		{"syscalls[0].action is SCMP_ACT_NOTIFY", rule(func(r *specs.LinuxSyscall) { r.Action = specs.ActNotify })},
		{"syscalls[0].errnoRet", rule(func(r *specs.LinuxSyscall) { r.Action, r.ErrnoRet = specs.ActKill, &code })},
		{"syscalls[0].errnoRet", rule(func(r *specs.LinuxSyscall) { r.ErrnoRet = &large })},
		{"syscalls[0].args[0].index", arg(specs.LinuxSeccompArg{Index: 6, Op: specs.OpEqualTo})},
		{"syscalls[0].args[0].op", arg(specs.LinuxSeccompArg{Op: "=="})},
	} {
		s := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
		test.change(s)
		if _, err := Parse(s, "amd64"); err == nil || !strings.HasPrefix(err.Error(), test.field) {
			t.Errorf("%+v: %v, want an error on %s", s, err, test.field)
		}
	}
	if _, err := Parse(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, "mips"); err == nil {
		t.Error("a profile for a processor without a table is accepted")
	}
}

func TestProfilesThatNeedTooManyInstructions(t *testing.T) {
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	for i := range 1000 {
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{
			Names: []string{"read"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Value: uint64(i), Op: specs.OpEqualTo}},
		})
	}
	p, err := Parse(s, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = p.Compile(); err == nil || !strings.HasPrefix(err.Error(), "syscalls has so many rules") {
		t.Errorf("5,000 instructions: %v", err)
	}
}

func TestFlags(t *testing.T) {
	for _, test := range []struct {
		flags []specs.LinuxSeccompFlag
		want  uint
	}{
		{nil, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{[]specs.LinuxSeccompFlag{}, 0},
		{[]specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog}, unix.SECCOMP_FILTER_FLAG_LOG},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagSpecAllow}, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	} {
		p, err := Parse(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: test.flags}, "amd64")
		if err != nil || p.flags != test.want {
			t.Errorf("%v gives %#x and %v, want %#x", test.flags, p.flags, err, test.want)
		}
	}
}

// What is advertised is what Parse takes.
func TestAdvertisedWordsAreTaken(t *testing.T) {
	for _, a := range Actions() {
		if _, err := parseAction(specs.LinuxSeccompAction(a), nil, "", ""); err != nil {
			t.Error(err)
		}
	}
	for _, o := range Operators() {
		if _, err := parseCondition(&specs.LinuxSeccompArg{Op: specs.LinuxSeccompOperator(o)}, ""); err != nil {
			t.Error(err)
		}
	}
	for _, f := range Flags() {
		if _, err := parseFlags([]specs.LinuxSeccompFlag{specs.LinuxSeccompFlag(f)}); err != nil {
			t.Error(err)
		}
	}
	if got := fmt.Sprint(Archs("amd64"), Archs("arm64")); got != "[SCMP_ARCH_X32 SCMP_ARCH_X86 SCMP_ARCH_X86_64] [SCMP_ARCH_AARCH64 SCMP_ARCH_ARM]" {
		t.Error(got)
	}
	if !slices.IsSorted(Actions()) || !slices.IsSorted(Operators()) || !slices.IsSorted(Flags()) {
		t.Error("not sorted")
	}
}

func BenchmarkDefaultProfile(b *testing.B) {
	s := containerdProfile()
	for b.Loop() {
		p, err := Parse(s, runtime.GOARCH)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Compile(); err != nil {
			b.Fatal(err)
		}
	}
}
